"""Run a learner's answer on a case and report what it did, as plain data and without opinion.

This runs beside the learner's code: in the notebook when a learner checks an answer, in the
sandbox when a submission is graded.
"""

import ast
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import CodeType, FunctionType
from typing import Any, Literal

import torch

from course_utils.grading.sandbox.plain import pack, unpack
from course_utils.resume.rng import RngState, seed_everything


@dataclass(frozen=True)
class Observation:
    """What an answer did with one case.

    Attributes:
        status: ``"ran"``, or why there is nothing to judge.
        data: what the probe returned, plain data.
        error: the exception, if one was raised, and the line it came from.
    """

    status: Literal["ran", "failed", "not attempted"]
    data: Any = None
    error: str = ""


def observe(probe: Callable[[Any, Any], Any], answer: Any, case: Any) -> Observation:
    """Run a probe on an answer and one case.

    Generators are seeded before and restored after, so that every run draws the same numbers
    and a check changes nothing in the notebook.
    """
    try:
        with _same_conditions():
            return Observation("ran", unpack(pack(probe(answer, case))))
    except NotImplementedError as error:
        if error.args:  # PyTorch raises it too, with a message
            return Observation("failed", error=_describe(error, answer))
        return Observation("not attempted")
    except (Exception, SystemExit) as error:
        return Observation("failed", error=_describe(error, answer))


def is_untouched(answer: Any, starter: str, name: str) -> bool:
    """Whether an answer does, instruction by instruction, what the starter code does."""
    return _fingerprint(answer) in [_fingerprint(made[name]) for made in _both_ways(starter)]


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
def _same_conditions() -> Iterator[None]:
    generators, threads = RngState(), torch.get_num_threads()
    before = generators.state_dict()
    seed_everything(0)
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        generators.load_state_dict(before)


def _describe(error: BaseException, answer: Any) -> str:
    """One line for the exception, one for the place in the learner's own code."""
    text = f"{type(error).__name__}: {error}".strip()
    file = getattr(getattr(answer, "__code__", None), "co_filename", None)
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if frame.filename == file and frame.line:
            return f"{text}\nin your line: {frame.line.strip()}"
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
