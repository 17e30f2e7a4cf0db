"""What of `course_utils` an answer uses that a graded notebook does not have.

Learners who get solutions may call the production helpers. In a graded set, which comes without
solutions, `check` refuses what the grader's sandbox would refuse.
"""

import importlib.util
from collections.abc import Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any

from course_utils.former_names import todays_names
from course_utils.grading.sandbox.student_package import SANDBOX_MODULES

ROOT = "course_utils"


def not_in_graded(answer: Any) -> str:
    """Return a module that the answer uses and the sandbox lacks; "" where there is none."""
    if importlib.util.find_spec(f"{ROOT}.grading.solutions") is not None:
        return ""
    used = {module for code, names in _codes(answer, set()) for module in _modules(code, names)}
    return min((module for module in used if not _is_there(module)), default="")


def _is_there(module: str) -> bool:
    there = {f"{ROOT}.{name}" for name in SANDBOX_MODULES}
    parents = {name.rpartition(".")[0] for name in there}
    return not module.startswith(f"{ROOT}.") or module in there | parents


def _codes(thing: Any, seen: set[int]) -> Iterator[tuple[CodeType, dict[str, Any]]]:
    """Yield the code of a function or class, and of the notebook's own ones that it calls."""
    if id(thing) in seen:
        return
    seen.add(id(thing))
    if isinstance(thing, FunctionType):
        for code in _nested(thing.__code__):
            yield code, thing.__globals__
            for name in code.co_names:
                value = thing.__globals__.get(name)
                if isinstance(value, FunctionType | type) and value.__module__ == thing.__module__:
                    yield from _codes(value, seen)
    elif isinstance(thing, type):
        for value in vars(thing).values():
            yield from _codes(value, seen)


def _nested(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _nested(constant)


def _modules(code: CodeType, names: dict[str, Any]) -> Iterator[str]:
    """Yield the modules that a piece of code imports, or that the values it names come from."""
    for name in code.co_names:
        value = names.get(name)
        if isinstance(value, ModuleType):
            yield value.__name__
        elif value is not None:
            yield str(getattr(value, "__module__", None) or "")
        elif name.startswith(f"{ROOT}."):
            yield todays_names().get(name, name)
