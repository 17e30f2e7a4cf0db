"""What replaces TorchScript: ``torch.export``, AOTInductor and ONNX, each checked like a script.

All three start from one exported program. The batch size stays free, and the file holds neither
the example's values nor the paths of your source files.
"""

import copy
import io
import os
import re
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.utils import _pytree as pytree

from course_utils.agreement import probes_like, require_agreement
from course_utils.durable import write_atomically
from course_utils.errors import (
    DamagedCheckpointError,
    MissingCheckpointError,
    NotExportableError,
    UnsafeCheckpointError,
)
from course_utils.formats import PROGRAM
from course_utils.safety import Audit, audit
from course_utils.trust import Verdict

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
        torch._inductor.aoti_compile_and_package(program, package_path=str(file))
        return torch._inductor.aoti_load_package(str(file))

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

    def build(program: ExportedProgram, file: Path) -> Callable[..., Any]:
        exported = torch.onnx.export(program, (), verbose=False)
        assert exported is not None  # it is None only for a file written by torch.onnx itself
        file.write_bytes(exported.model_proto.SerializeToString())
        return load_onnx(file)

    _export("ONNX model", module, example, path, build, probes, tolerance)


def load_program(path: str | os.PathLike[str], *, trusted: bool = False) -> ExportedProgram:
    """Load a ``torch.export`` file, from strangers only if it holds nothing but operators.

    ``torch.export.load`` has no ``weights_only``: pickles in the file may run anything, and so
    may the sizes and containers that its JSON describes, which are evaluated and imported.

    Args:
        path: a file by `export_program` or ``torch.export.save``.
        trusted: you made it or trust its maker; else it is audited first.

    Raises:
        MissingCheckpointError: there is no such file.
        UnsafeCheckpointError: not trusted, and loading it would do more than call operators.
        DamagedCheckpointError: torch cannot read it.
    """
    if not trusted:
        _require_only_operators(audit(path))
    _require_file(path)
    try:
        return torch.export.load(path)
    except Exception as error:  # whatever its JSON, zip and pickle readers raise
        raise DamagedCheckpointError(f"{path}: torch.export cannot read it ({error})") from error


def load_package(path: str | os.PathLike[str], *, trusted: bool = False) -> Callable[..., Any]:
    """Load an AOTInductor package that you made or whose maker you trust.

    Raises:
        MissingCheckpointError: there is no such file.
        UnsafeCheckpointError: it is not trusted. No audit can help: it is machine code.
        DamagedCheckpointError: torch cannot read it.
    """
    _require_file(path)
    if not trusted:
        raise UnsafeCheckpointError(
            f"{path}: a package is machine code, which loading runs; no audit can judge it. "
            "Pass trusted=True if you made it, else ask for safetensors or ONNX."
        )
    try:
        return torch._inductor.aoti_load_package(str(path))
    except Exception as error:
        raise DamagedCheckpointError(f"{path}: no usable package ({error})") from error


def load_onnx(path: str | os.PathLike[str]) -> Callable[..., Any]:
    """Load an ONNX file into onnxruntime, as a function from tensors to tensors.

    An ONNX file is plain data: a graph of named operators and their weights.
    """
    import onnxruntime  # an extra: only who uses ONNX needs it

    session = onnxruntime.InferenceSession(os.fspath(path), providers=["CPUExecutionProvider"])
    names = [node.name for node in session.get_inputs()]

    def run(*inputs: Tensor) -> Any:
        arrays = (x.detach().cpu().numpy() for x in inputs)
        outputs = session.run(None, dict(zip(names, arrays, strict=True)))
        tensors = tuple(torch.from_numpy(array) for array in outputs)
        return tensors[0] if len(tensors) == 1 else tensors

    return run


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
    inputs = tuple(torch.cat([x, x]) if len(x) == 1 else x for x in inputs)
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


def _require_file(path: str | os.PathLike[str]) -> None:
    if not Path(path).is_file():
        raise MissingCheckpointError(f"{path}: there is no such file.")


def _require_only_operators(found: Audit) -> None:
    """Accept what the audit says of every program, that it calls operators, and nothing else."""
    beyond = [finding for finding in found.findings if finding.where]
    if found.format != PROGRAM or beyond or found.verdict is not Verdict.NEEDS_GLOBALS:
        reasons = "; ".join(f"{finding.where} {finding.reason}" for finding in beyond[:3])
        raise UnsafeCheckpointError(
            f"{found.path}: {found.verdict.value} ({found.format}). {reasons or 'Not a program'}. "
            "Not loaded. If you made the file, pass trusted=True; else ask for safetensors or ONNX."
        )


def _flat(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return outputs as one flat list: formats differ in the containers they give back."""
    return lambda *inputs: pytree.tree_leaves(function(*inputs))


def _summary(error: Exception) -> str:
    """Return what torch's message says is wrong; the rest is how to debug torch."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reasons = [line for line in lines[1:] if line.startswith("- ")]
    text = " ".join(lines[:1] + reasons[:1]).removesuffix(".")
    return re.sub(r'For more information, run with TORCH_LOGS="[^"]*"\. *', "", text) + "."


@contextmanager
def _quiet() -> Iterator[None]:
    """Swallow what torch's exporters log and print on the way; errors still come as errors."""
    with redirect_stderr(io.StringIO()), warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"torch\.|onnx")
        yield
