"""TorchScript: export a module that is checked, load it with its metadata, look without running.

TorchScript is deprecated since PyTorch 2.10 and does not support Python 3.14; `export` holds
what replaces it.
"""

import copy
import json
import os
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal

import torch
from torch import Tensor, nn

from course_utils.errors import (
    CheckpointError,
    DamagedCheckpointError,
    NotACheckpointError,
)
from course_utils.files.durable import write_atomically
from course_utils.files.open_file import OpenFile
from course_utils.formats.source import Window
from course_utils.portable.agreement import eval_mode, probes_like, require_agreement
from course_utils.tables import Table

METADATA = "metadata.json"
DEVICE = re.compile(r'torch\.device\("([^"]+)"\)')
ADVICE = {
    "trace": "A trace records one run: branches, loops and sizes become constants. "
    'Use mode="script", or write the module without them.',
    "script": "Look for Python state that the script does not share with the module.",
}


def export_script(
    module: nn.Module,
    example: Tensor | tuple[Tensor, ...],
    path: str | os.PathLike[str],
    *,
    mode: Literal["trace", "script"] = "trace",
    probes: Sequence[tuple[Tensor, ...]] = (),
    extra_files: Mapping[str, str] | None = None,
    tolerance: float = 1e-5,
) -> None:
    """Write a module as TorchScript, in eval mode, after checking that it computes the same.

    It is run on inputs it was not made from: other values, other batch sizes, and your
    ``probes``. The module keeps its own training mode.

    Args:
        module: what to export.
        example: the positional inputs of one call, batch first.
        path: the file to write, atomically.
        mode: record one run, or compile the source of ``forward``.
        probes: more inputs to check, for branches that random numbers will not reach.
        extra_files: texts to store by name, for example ``{"classes.txt": "cat\\ndog"}``. The
            shapes and dtypes of the inputs and the versions are always stored.
        tolerance: largest absolute difference of the outputs.

    Raises:
        DisagreementError: it would compute something else; what stood at ``path`` is untouched.
        CheckpointWriteError: the file could not be written.

    Warns:
        UserWarning: its code names a device, which ``map_location`` will not change.
    """
    inputs = example if isinstance(example, tuple) else (example,)
    mine = [(f"your probe {i}", probe) for i, probe in enumerate(probes)]
    extras = {**(extra_files or {}), METADATA: json.dumps(_describe(inputs, mode))}

    def write(file: BinaryIO) -> None:
        exported = _export(module, inputs, mode)
        torch.jit.save(exported, file, _extra_files=extras)
        file.flush()
        require_agreement(
            f"The {mode} of {type(module).__name__}",
            copy.deepcopy(module),  # a module may keep count of its calls
            torch.jit.load(file.name),
            [*probes_like(inputs), *mine],
            tolerance=tolerance,
            advice=ADVICE[mode],
        )

    with eval_mode(module), quiet(), torch.no_grad():
        write_atomically(path, write)
    _warn_about_devices(Path(path))


@dataclass(frozen=True)
class Script:
    """A loaded TorchScript module and what was stored with it.

    Attributes:
        module: call it like the module it came from.
        metadata: inputs (shape with "batch" first, dtype), mode, versions; empty if the file has
            none.
        extra_files: the texts stored with it, by name.
    """

    module: torch.jit.ScriptModule
    metadata: Mapping[str, Any]
    extra_files: Mapping[str, str]


def load_script(path: str | os.PathLike[str], map_location: Any = "cpu") -> Script:
    """Load a TorchScript file of somebody you trust, verifying its records first.

    The file is a program. Loading runs its ``__setstate__`` methods, and these can write files;
    `inspect_script` shows them without running them.

    Args:
        path: a file by `export_script` or ``torch.jit.save``.
        map_location: device for its tensors, and for the devices its code names.

    Raises:
        MissingCheckpointError: there is no such file.
        NotACheckpointError: it is no TorchScript archive.
        DamagedCheckpointError: a record is cut off or has changed.
    """
    report = inspect_script(path)
    texts = dict.fromkeys(report.extra_files, "")
    with quiet():
        module = torch.jit.load(path, map_location=map_location, _extra_files=texts)
    decoded = {name: _text(content) for name, content in texts.items()}
    return Script(module, _taken_out(decoded), decoded)


def _taken_out(texts: dict[str, str]) -> dict[str, Any]:
    """Take the metadata out of the texts; what others have put under its name stays there."""
    try:
        metadata = json.loads(texts[METADATA])
    except (KeyError, ValueError):
        return {}
    if not isinstance(metadata, dict):
        return {}
    del texts[METADATA]
    return metadata


@dataclass(frozen=True, repr=False)
class ScriptReport:
    """What a TorchScript archive holds.

    Attributes:
        records: name to size in bytes, in the order of the file.
        code: the generated source files, by name.
        extra_files: the texts stored with it, by name.
    """

    records: Mapping[str, int]
    code: Mapping[str, str]
    extra_files: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return str(self._table())

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return self._table()._repr_html_()

    def _table(self) -> Table:
        rows = [(name, f"{size:,}") for name, size in self.records.items()]
        return Table(rows, ["record", "bytes"])


def inspect_script(path: str | os.PathLike[str]) -> ScriptReport:
    """List a TorchScript archive and its code without running anything.

    Raises:
        MissingCheckpointError, NotACheckpointError, DamagedCheckpointError: see `load_script`.
    """
    path = Path(path)
    with _archive(path) as archive:
        damaged = archive.testzip()
        if damaged:
            raise DamagedCheckpointError(
                f"{path}: record {damaged} does not match its checksum. Export the model again."
            )
        names = {name.split("/", 1)[-1]: name for name in archive.namelist()}
        if not any(name.startswith("code/") for name in names):
            raise NotACheckpointError(
                f"{path} is a zip archive without code/, so it is no TorchScript file. "
                "For a checkpoint, use course_utils.checkpoint.load_checkpoint."
            )
        records = {short: archive.getinfo(name).file_size for short, name in names.items()}
        code = {s: _text(archive.read(n)) for s, n in names.items() if s.endswith(".py")}
        extra = {
            s.removeprefix("extra/"): _text(archive.read(n))
            for s, n in names.items()
            if s.startswith("extra/")
        }
    return ScriptReport(records, code, extra)


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the deprecation of ``torch.jit`` and the tracer's remarks, and nothing else.

    Their category has changed between releases; their words have not.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"`?torch\.jit")
        warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)
        yield


@contextmanager
def _archive(path: Path) -> Iterator[zipfile.ZipFile]:
    with OpenFile(path) as file:
        try:
            with zipfile.ZipFile(Window(file)) as archive:
                yield archive
        except CheckpointError:
            raise
        except (NotImplementedError, RuntimeError) as error:  # encrypted, or packed with lzma
            raise NotACheckpointError(
                f"{path} is a zip archive that torch did not write: {error}."
            ) from None
        except (zipfile.BadZipFile, EOFError, ValueError) as error:
            if file.read_at(0, 2) == b"PK":
                raise DamagedCheckpointError(
                    f"{path}: its zip archive is cut off or overwritten ({error}). "
                    "Export the model again."
                ) from None
            raise NotACheckpointError(
                f"{path} is no TorchScript file: not a zip archive."
            ) from None


def _export(module: nn.Module, inputs: tuple[Tensor, ...], mode: str) -> Any:
    if mode == "script":
        return torch.jit.script(copy.deepcopy(module))
    # Tracing runs the module, which may change its buffers: on a copy, and put back after.
    exported = torch.jit.trace(copy.deepcopy(module), inputs, check_trace=False)
    exported.load_state_dict(module.state_dict())
    return exported


def _warn_about_devices(path: Path) -> None:
    code = "".join(inspect_script(path).code.values())
    devices = sorted(set(DEVICE.findall(code)))
    if devices:
        warnings.warn(
            f"{path.name} names the device {', '.join(devices)} in its code and will make tensors "
            'there wherever it is loaded. Keep such tensors as buffers, or use mode="script".',
            stacklevel=3,
        )


def _describe(inputs: tuple[Tensor, ...], mode: str) -> dict[str, Any]:
    described = [
        {"shape": ["batch", *x.shape[1:]], "dtype": str(x.dtype).removeprefix("torch.")}
        for x in inputs
    ]
    return {"inputs": described, "mode": mode, "torch": str(torch.__version__)}


def _text(content: str | bytes) -> str:
    return content if isinstance(content, str) else content.decode("utf-8", errors="replace")
