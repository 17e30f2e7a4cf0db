"""Run a learner's answer on a question and report what it did, as plain data and without opinion.

This runs beside the learner's code, so what it reports is what that code lets it report. Nothing
that decides about points is known here.
"""

import ast
import os
import random
import shutil
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import numpy as np
import torch

from course_utils.grading.exercise import Observation
from course_utils.grading.sandbox.plain import pack, unpack
from course_utils.resume.rng import RngState, seed_everything

ERROR_CHARACTERS = 2000


def observe(probe: Callable[[Any, Any], Any], answer: Any, question: Any) -> Observation:
    """Run a probe on an answer and one question, in the working directory.

    Generators and PyTorch's global settings are set before and restored after, so that every run
    has the same conditions, and a check changes nothing in the notebook.
    """

    def run() -> Any:
        with same_conditions():
            return unpack(pack(probe(answer, question)))

    return _tried(run, answer, question)


def claim(probe: Callable[[Any, Any], Any], answer: Any, question: Any) -> bytes:
    """Do what `observe` does in a process that ends with the question; return the packed outcome.

    The conditions are set after the fork, and nothing puts them back: set before, a copy that
    makes a process group of torch.distributed dies.
    """
    set_conditions()

    def run() -> Any:
        return pack({"status": "ran", "data": probe(answer, question), "error": ""})

    seen = _tried(run, answer, question)
    if seen.status == "ran":
        return bytes(seen.data)
    return pack({"status": seen.status, "data": None, "error": seen.error})


@contextmanager
def own_folder(parent: str | None = None) -> Iterator[Path]:
    """Work in a new, empty folder, which is removed afterwards."""
    before = os.getcwd()
    folder = Path(tempfile.mkdtemp(dir=parent))
    os.chdir(folder)
    try:
        yield folder
    finally:
        os.chdir(before)
        shutil.rmtree(folder, ignore_errors=True)


def is_untouched(answer: Any, starter: str, name: str) -> bool:
    """Whether an answer does, instruction by instruction, what the starter code does."""
    return _fingerprint(answer) in starter_fingerprints(starter, name)


@cache
def starter_fingerprints(starter: str, name: str) -> list[Any]:
    """Return what `is_untouched` compares with; called early, no student's patch is in it."""
    return [_fingerprint(made[name]) for made in _both_ways(starter)]


def _tried(run: Callable[[], Any], answer: Any, question: Any) -> Observation:
    try:
        _lay_out(question)
        return Observation("ran", run())
    except NotImplementedError as error:
        if error.args:  # PyTorch raises it too, with a message
            return Observation("failed", error=_describe(error, answer))
        return Observation("not attempted")
    except (Exception, SystemExit) as error:
        return Observation("failed", error=_describe(error, answer))


def _lay_out(question: Any) -> None:
    files = question.get("files", {}) if isinstance(question, dict) else {}
    for name, data in files.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(data)


def _both_ways(source: str) -> Iterator[dict[str, Any]]:
    """Run code as a whole, as Python does, and statement by statement, as notebooks do.

    The compiler calls ``torch.load`` by other instructions where it has seen ``import torch``.
    """
    tree = ast.parse(source)
    for parts in ([tree], [ast.Module([statement], []) for statement in tree.body]):
        namespace: dict[str, Any] = {"__name__": "starter"}
        for part in parts:
            exec(compile(part, "<starter>", "exec"), namespace)
        yield namespace


@contextmanager
def same_conditions() -> Iterator[None]:
    """Set generators and PyTorch's global settings to fixed values, and back afterwards."""
    kept = torch.get_default_dtype(), torch.is_grad_enabled(), torch.get_default_device()
    exact, threads = torch.are_deterministic_algorithms_enabled(), torch.get_num_threads()
    precision = torch.get_float32_matmul_precision()
    with warnings.catch_warnings():
        generators = RngState()
        before = generators.state_dict()
        try:
            set_conditions()
            yield
        finally:
            _set(torch.float32, True, None)
            generators.load_state_dict(before)
            torch.set_num_threads(threads)
            torch.use_deterministic_algorithms(exact)
            torch.set_float32_matmul_precision(precision)
            device = kept[2]
            _set(kept[0], kept[1], None if device == torch.device("cpu") else device)


def set_conditions() -> None:
    """Set generators, warnings and PyTorch's global settings to fixed values."""
    warnings.simplefilter("default")
    _set(torch.float32, True, None)
    torch.use_deterministic_algorithms(False)
    torch.set_float32_matmul_precision("highest")
    torch.set_num_threads(1)
    if torch.accelerator.is_available():
        seed_everything(0)
        return
    # The same numbers. For a GPU that may come, PyTorch would note, at length, who asked.
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - the global generator is what answers use
    torch.default_generator.manual_seed(0)


def _set(dtype: torch.dtype, gradients: bool, device: torch.device | None) -> None:
    torch.set_default_dtype(dtype)
    torch.set_grad_enabled(gradients)
    torch.set_default_device(device)


def _describe(error: BaseException, answer: Any) -> str:
    """One line for the exception, one for the place in the learner's own code."""
    text = f"{type(error).__name__}: {error}".strip()[:ERROR_CHARACTERS]
    file = getattr(getattr(answer, "__code__", None), "co_filename", None)
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if frame.filename == file and frame.line:
            return f"{text}\nin your line: {frame.line.strip()[:300]}"
    return text


def _fingerprint(thing: Any) -> Any:
    if isinstance(thing, FunctionType):
        return _code_fingerprint(thing.__code__)
    if isinstance(thing, type):
        return {name: _fingerprint(value) for name, value in vars(thing).items() if callable(value)}
    return repr(type(thing))


def _code_fingerprint(code: CodeType) -> Any:
    constants = [_code_fingerprint(c) if isinstance(c, CodeType) else c for c in code.co_consts]
    return code.co_code, code.co_names, code.co_varnames, constants
