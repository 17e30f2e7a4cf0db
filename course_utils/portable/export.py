"""What replaces TorchScript: ``torch.export``, AOTInductor and ONNX, each checked like a script.

All three start from one exported program. The batch size stays free, and the file holds neither
the example's values nor the paths of your source files.
"""

import copy
import os
import re
import shutil
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.utils import _pytree as pytree

from course_utils.errors import NotExportableError
from course_utils.extras import require
from course_utils.files.durable import write_atomically
from course_utils.portable.agreement import probes_like, require_agreement
from course_utils.portable.load import SIGNATURE, load_onnx, load_package, signature

ADVICE = (
    "An export records one run. State in Python objects becomes a constant: keep it in buffers. "
    "A branch on a size is decided once: write the module without it."
)


def export_program(
    module: nn.Module,
    example: Tensor | tuple[Tensor, ...],
    path: str | os.PathLike[str],
    *,
    probes: Sequence[tuple[Tensor, ...]] = (),
    tolerance: float = 1e-5,
) -> None:
    """Write a module as a ``torch.export`` program (``.pt2``), after checking that it agrees.

    Like `export_script`: eval mode, compared on other values and other batch sizes, written
    atomically, and the module keeps its own training mode.

    Args:
        module: what to export.
        example: the positional inputs of one call, batch first.
        path: the file to write; torch wants the suffix ``.pt2``.
        probes: more inputs to check.
        tolerance: largest absolute difference of the outputs.

    Raises:
        NotExportableError: torch cannot express the module as one graph.
        DisagreementError: the program would compute something else.
        CheckpointWriteError: the file could not be written. In all three cases what stood at
            ``path`` is untouched.

    Warns:
        UserWarning: the program makes tensors on a device that is written into it.
    """

    def build(program: ExportedProgram, file: Path) -> Callable[..., Any]:
        torch.export.save(program, file)
        return torch.export.load(file).module()

    _export("program", module, example, path, build, probes, tolerance)


def compile_package(
    module: nn.Module,
    example: Tensor | tuple[Tensor, ...],
    path: str | os.PathLike[str],
    *,
    probes: Sequence[tuple[Tensor, ...]] = (),
    tolerance: float = 1e-4,
) -> None:
    """Compile a module for this kind of processor with AOTInductor (``.pt2``), and check it.

    The package holds a shared library: it runs from C++ and Python, needs no class and no
    compiler, and works only on machines with this one's instructions. Compiling takes 15 to 60
    seconds and needs a C++ compiler. Arguments and errors as in `export_program`; generated
    kernels round differently, so the tolerance is larger.
    """

    def build(program: ExportedProgram, file: Path) -> Callable[..., Any]:
        (inputs, _) = program.example_inputs or ((), {})
        torch._inductor.aoti_compile_and_package(
            program,
            package_path=str(file),
            inductor_configs={"aot_inductor.metadata": {SIGNATURE: signature(inputs)}},
        )
        return load_package(file, trusted=True)

    _export("compiled package", module, example, path, build, probes, tolerance)


def export_onnx(
    module: nn.Module,
    example: Tensor | tuple[Tensor, ...],
    path: str | os.PathLike[str],
    *,
    probes: Sequence[tuple[Tensor, ...]] = (),
    tolerance: float = 1e-4,
) -> None:
    """Write a module as one ONNX file of up to 2 GB, checked in onnxruntime.

    Arguments and errors as in `export_program`. Needs the packages of the extra ``export``.
    """
    require("export", "onnx", "onnxscript", "onnxruntime")

    def build(program: ExportedProgram, file: Path) -> Callable[..., Any]:
        exported = torch.onnx.export(program, (), verbose=False)
        assert exported is not None  # it is None only for a file written by torch.onnx itself
        file.write_bytes(exported.model_proto.SerializeToString())
        return load_onnx(file)

    _export("ONNX model", module, example, path, build, probes, tolerance)


def _export(
    kind: str,
    module: nn.Module,
    example: Tensor | tuple[Tensor, ...],
    path: str | os.PathLike[str],
    build: Callable[[ExportedProgram, Path], Callable[..., Any]],
    probes: Sequence[tuple[Tensor, ...]],
    tolerance: float,
) -> None:
    """Make the file in a temporary folder, compare what it computes, then put it in place."""
    inputs = example if isinstance(example, tuple) else (example,)
    mine = [(f"your probe {i}", probe) for i, probe in enumerate(probes)]
    frozen = copy.deepcopy(module).eval()  # running it may count calls, say
    with tempfile.TemporaryDirectory() as folder, torch.no_grad(), _quiet():
        made = Path(folder) / Path(path).name
        candidate = build(_program(frozen, inputs), made)
        require_agreement(
            f"The {kind} of {type(module).__name__}",
            _flat(frozen),
            _flat(candidate),
            [*probes_like(inputs), *mine],
            tolerance=tolerance,
            advice=ADVICE,
        )
        with open(made, "rb") as source:
            write_atomically(path, lambda file: shutil.copyfileobj(source, file))


def _program(module: nn.Module, inputs: tuple[Tensor, ...]) -> ExportedProgram:
    # torch.export takes a size of 1 for a constant, so two rows at least.
    inputs = tuple(torch.cat([x, x]) if len(x) == 1 else x.contiguous() for x in inputs)
    batch = Dim("batch", min=1)
    try:
        program = torch.export.export(
            module, inputs, dynamic_shapes=tuple({0: batch} for _ in inputs)
        )
    except Exception as error:  # RuntimeError, UserError, ValueError, … by release and cause
        raise NotExportableError(
            f"torch.export cannot make one graph of {type(module).__name__}: {_summary(error)} "
            "Write branches on data with torch.where or torch.cond, and loops over the batch as "
            "operations on the whole batch."
        ) from error
    _forget_origin(program)
    _warn_about_devices(program, type(module).__name__)
    return program


def _forget_origin(program: ExportedProgram) -> None:
    """Drop what torch would store of your machine and data: source paths and example values."""
    for part in program.graph_module.modules():
        for node in getattr(part, "graph", program.graph).nodes:
            node.meta.pop("stack_trace", None)
    program.example_inputs = pytree.tree_map(torch.zeros_like, program.example_inputs)


def _warn_about_devices(program: ExportedProgram, name: str) -> None:
    nodes = program.graph.nodes
    devices = sorted({str(node.kwargs["device"]) for node in nodes if node.kwargs.get("device")})
    if devices:
        warnings.warn(
            f"The program of {name} makes tensors on the device {', '.join(devices)}, wherever it "
            "runs. Keep such tensors as buffers, or load it with "
            "torch.export.passes.move_to_device_pass.",
            stacklevel=5,
        )


def _flat(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return outputs as one flat list: formats differ in the containers they give back."""
    return lambda *inputs: pytree.tree_leaves(function(*inputs))


def _summary(error: Exception) -> str:
    """Return what torch's message says is wrong, and where; the rest is how to debug torch."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reasons = [line for line in lines[1:] if line.startswith("- ")]
    text = (reasons or lines)[0].removeprefix("- ").split(". ")[0].removesuffix(".")
    frames = re.findall(r'File "[^"]*?([^/"]+)", line (\d+).*\n\s*(.+)', str(error))
    if frames:
        file, line, code = frames[-1]
        text += f", in {file}, line {line}: `{code.strip()}`"
    return text + "."


@contextmanager
def _quiet() -> Iterator[None]:
    """Swallow what torch's exporters log and print on the way; errors still come as errors.

    stderr and the filters of warnings are the whole process's: one export at a time changes them
    and puts them back, and what other threads print goes on its way.
    """
    with _ALONE, redirect_stderr(_Muted(sys.stderr)), warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"torch\.|onnx")
        yield


_ALONE = threading.RLock()


class _Muted:
    """A stream that drops what the thread that made it writes."""

    def __init__(self, stream: Any) -> None:
        self._stream, self._thread = stream, threading.get_ident()

    def write(self, text: str) -> int:
        if threading.get_ident() == self._thread:
            return len(text)
        return int(self._stream.write(text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
