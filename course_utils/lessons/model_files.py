"""One model as six kinds of file, and what each costs: lesson 09."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from safetensors.torch import load_model, save_model
from torch import Tensor, nn

from course_utils.checkpoint import load_checkpoint, save_checkpoint
from course_utils.portable.export import compile_package, export_onnx, export_program
from course_utils.portable.load import load_onnx, load_package, load_program
from course_utils.portable.torchscript import export_script, load_script

RUNS = 30  # of which the median is taken


@dataclass(frozen=True)
class Kind:
    """A way to put a model into a file.

    Attributes:
        name: for tables.
        file: its usual file name.
        save: called with the model, an example batch and a path.
        load: called with the path and a new model of the same class, which some kinds fill;
            returns a function from batches to outputs.
        needs_class: whether loading needs the Python class.
        runs_in: where the file runs.
        from_strangers: what to do with a stranger's file.
        future: whether it is maintained.
    """

    name: str
    file: str
    save: Callable[[nn.Module, Tensor, Path], object]
    load: Callable[[Path, nn.Module], Callable[[Tensor], Any]]
    needs_class: bool
    runs_in: str
    from_strangers: str
    future: str


@dataclass(frozen=True)
class Cost:
    """What a kind of file costs on this machine: size in bytes, times in seconds."""

    bytes: int
    save: float
    load: float
    run: float


@torch.no_grad()
def measure(kind: Kind, model: nn.Module, new: nn.Module, batch: Tensor, folder: Path) -> Cost:
    """Save, load and run a model in one kind of file; the file stays in the folder.

    Saving is timed once, with the checks of the exporters; loading is the fastest of three, as
    the first may import packages; running is the median of many calls.

    Args:
        kind: one of `KINDS`.
        model: what to save, in eval mode.
        new: a model of the same class, for kinds that fill one; it is changed.
        batch: the example, and what is run.
        folder: for the file.
    """
    path = folder / kind.file
    save, _ = _timed(lambda: kind.save(model, batch, path))
    loads = [_timed(lambda: kind.load(path, new)) for _ in range(3)]
    run = loads[-1][1]
    run(batch)
    runs = [_timed(lambda: run(batch))[0] for _ in range(RUNS)]
    return Cost(path.stat().st_size, save, min(seconds for seconds, _ in loads), median(runs))


def _timed(call: Callable[[], Any]) -> tuple[float, Any]:
    started = time.perf_counter()
    result = call()
    return time.perf_counter() - started, result


def _save_state(model: nn.Module, _: Tensor, path: Path) -> None:
    save_checkpoint(path, model.state_dict())


def _load_state(path: Path, new: nn.Module) -> nn.Module:
    new.load_state_dict(load_checkpoint(path))
    return new.eval()


def _save_safetensors(model: nn.Module, _: Tensor, path: Path) -> None:
    save_model(model, str(path))


def _load_safetensors(path: Path, new: nn.Module) -> nn.Module:
    load_model(new, path)
    return new.eval()


KINDS = (
    Kind(
        "state_dict", "model.pt", _save_state, _load_state,
        True, "Python", "audit, weights only", "yes",
    ),
    Kind(
        "safetensors", "model.safetensors", _save_safetensors, _load_safetensors,
        True, "Python", "safe", "yes",
    ),
    Kind(
        "TorchScript", "script.pt", export_script, lambda path, _: load_script(path).module,
        False, "Python, C++", "no: a program", "deprecated",
    ),
    Kind(
        "torch.export", "program.pt2", export_program,
        lambda path, _: load_program(path).module(),
        False, "Python", "audit: operators only", "yes",
    ),
    Kind(
        "AOTInductor", "package.pt2", compile_package,
        lambda path, _: load_package(path, trusted=True),
        False, "Python, C++", "no: machine code", "yes",
    ),
    Kind(
        "ONNX", "model.onnx", export_onnx, lambda path, _: load_onnx(path),
        False, "Python, C++ and others", "data, for a careful runtime", "yes",
    ),
)  # fmt: skip
