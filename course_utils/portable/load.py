"""Load what `export` writes: programs, compiled packages and ONNX files, as functions to call."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor
from torch.export import ExportedProgram

from course_utils.errors import (
    AnotherFormatError,
    CheckpointError,
    DamagedCheckpointError,
    MismatchedCheckpointError,
    MissingCheckpointError,
    NotACheckpointError,
    UnsafeCheckpointError,
    UnsupportedCheckpointError,
)
from course_utils.extras import require
from course_utils.files.contents import open_contents, verify_contents
from course_utils.files.open_file import OpenFile
from course_utils.formats.contents import PROGRAM
from course_utils.formats.judge import Verdict
from course_utils.safety.audit import Audit, audit_open

SIGNATURE = "inputs"  # the entry of a package's metadata


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
        DamagedCheckpointError: it is cut off, or a record has changed.
        UnsupportedCheckpointError, NotACheckpointError: torch cannot read it all the same.
    """
    with OpenFile(path) as file, open(os.dup(file.fileno()), "rb") as stream:
        if not trusted:
            _require_only_operators(audit_open(file))  # and what was judged is what is loaded
        stream.seek(0)
        return _read_program(file.path, stream)


def _read_program(path: Path, stream: BinaryIO) -> ExportedProgram:
    try:
        return torch.export.load(stream)
    except Exception as error:  # whatever its JSON, zip and pickle readers raise
        raise _refusal(path, "torch.export", error) from error


def load_package(path: str | os.PathLike[str], *, trusted: bool = False) -> Callable[..., Any]:
    """Load an AOTInductor package that you made or whose maker you trust.

    Left alone, a package takes images of another size or layout than it was compiled for, and
    returns wrong numbers or reads memory that is not its own. The function returned here refuses
    other sizes and dtypes, which `compile_package` has noted in the file.

    Raises:
        MissingCheckpointError: there is no such file.
        UnsafeCheckpointError: it is not trusted. No audit can help: it is machine code.
        DamagedCheckpointError: it is cut off, or a record has changed.
        UnsupportedCheckpointError, NotACheckpointError: torch cannot read it all the same.
        MismatchedCheckpointError: from the function, on inputs the package was not made for.
    """
    _require_file(path)
    if not trusted:
        raise UnsafeCheckpointError(
            f"{path}: a package is machine code, which loading runs; no audit can judge it. "
            "Pass trusted=True if you made it, else ask for safetensors or ONNX."
        )
    try:
        package = torch._inductor.aoti_load_package(str(path))
        wanted = package.get_metadata().get(SIGNATURE)
    except Exception as error:
        raise _refusal(Path(path), "AOTInductor", error) from error

    def run(*inputs: Tensor) -> Any:
        if wanted not in (None, signature(inputs)):
            raise MismatchedCheckpointError(
                f"{path}: compiled for {wanted} after the batch, got {signature(inputs)}."
            )
        return package(*(x.contiguous() for x in inputs))

    return run


def load_onnx(path: str | os.PathLike[str]) -> Callable[..., Any]:
    """Load an ONNX file into onnxruntime, as a function from tensors to tensors.

    An ONNX file is plain data: a graph of named operators and their weights. It runs on the
    CPU, on as many threads as torch uses.

    Raises:
        MissingCheckpointError: there is no such file.
        UnsupportedCheckpointError, NotACheckpointError: onnxruntime cannot read it.
        ImportError: onnxruntime is not installed; it says how to get it.
    """
    require("export", "onnxruntime")  # only who uses ONNX needs it
    import onnxruntime

    _require_file(path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        session = onnxruntime.InferenceSession(
            os.fspath(path), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # its errors share no class of their own
        raise _refusal(Path(path), "onnxruntime", error) from error
    names = [node.name for node in session.get_inputs()]

    def run(*inputs: Tensor) -> Any:
        arrays = (x.detach().cpu().numpy() for x in inputs)
        outputs = session.run(None, dict(zip(names, arrays, strict=True)))
        tensors = tuple(torch.from_numpy(array) for array in outputs)
        return tensors[0] if len(tensors) == 1 else tensors

    return run


def signature(inputs: tuple[Tensor, ...]) -> str:
    """Return dtypes and sizes as run_package.cpp writes them: ``Float[1, 8, 8]``."""
    dtypes = [x.type().rpartition(".")[2].removesuffix("Tensor") for x in inputs]
    return ";".join(f"{d}{list(x.shape[1:])}" for d, x in zip(dtypes, inputs, strict=True))


def _refusal(path: Path, reader: str, error: Exception) -> CheckpointError:
    """Return why a library cannot read a file: damaged is what does not match its checksums."""
    said = f"{reader} cannot read it ({error})"
    try:
        contents = open_contents(path)
    except DamagedCheckpointError as found:
        return found
    except AnotherFormatError as found:
        return UnsupportedCheckpointError(f"{path}: {said}, though it is {found.neighbour.kind}.")
    except CheckpointError:
        return NotACheckpointError(f"{path}: {said}. It is another kind of file, or a part of one.")
    for finding in verify_contents(contents).damage:
        return DamagedCheckpointError(
            f"{path}: record {finding.record}: {finding.problem}. Export the model again."
        )
    whole = ", and its bytes are as they were written" if contents.checksums else ""
    return UnsupportedCheckpointError(f"{path}: {said}. It is a {contents.kind}{whole}.")


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
