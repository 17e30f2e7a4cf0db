"""``python -m course_utils.grading.mutants``: would the judges notice a spoiled reference?

Every reference is changed in one place at a time: a statement dropped, a comparison or a
condition turned round, a dictionary entry or a keyword argument left out, a number moved by one.
A mutant that still earns full credit survives, and shows a case that is missing.
"""

import ast
import copy
import inspect
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from operator import setitem
from types import FrameType
from typing import Any

from tqdm import tqdm

from course_utils.grading.checking import examine
from course_utils.grading.exercise import Exercise, all_exercises, load_exercise, load_reference
from course_utils.tables import Table

SEED = 11
SECONDS = 20
EQUIVALENT = "# mutant: equivalent"

SWAPPED = {
    ast.Lt: ast.GtE, ast.GtE: ast.Lt, ast.Gt: ast.LtE, ast.LtE: ast.Gt,
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.In: ast.NotIn, ast.NotIn: ast.In,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip
NEIGHBOUR = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt}

Change = tuple[ast.AST, str, Callable[[], None], Callable[[], None]]  # where, what, do, undo


@dataclass(frozen=True)
class Mutant:
    """One spoiled reference: where, how, and its code."""

    line: int
    change: str
    code: str


def mutants(source: str) -> Iterator[Mutant]:
    """Yield every mutant of a module's source, except in lines marked as equivalent."""
    tree, lines = ast.parse(source), source.splitlines()
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef):
            function.returns = None
            for node in ast.walk(function):
                for place, what, apply, undo in _changes(node):
                    line = getattr(place, "lineno", function.lineno)
                    if EQUIVALENT in lines[line - 1]:
                        continue
                    apply()
                    yield Mutant(line, what, ast.unparse(ast.fix_missing_locations(tree)))
                    undo()


def survivors(exercise: Exercise) -> list[Mutant]:
    """Return the mutants of an exercise's reference that still earn full credit."""
    module = sys.modules[load_reference(exercise.id).__module__]
    found = {mutant.code: mutant for mutant in mutants(inspect.getsource(module))}
    return [mutant for mutant in found.values() if _survives(exercise, mutant)]


def main() -> int:
    """Print a table of survivors; return how many there are."""
    ids = sys.argv[1:] or all_exercises()
    rows = []
    for exercise_id in tqdm(ids, desc="Mutating", unit="exercise"):
        rows += [(exercise_id, m.line, m.change) for m in survivors(load_exercise(exercise_id))]
    print(Table(rows, ["exercise", "line", "unnoticed change"]) if rows else "No mutant survives.")
    return len(rows)


class _TooLong(BaseException):
    """Not an Exception, which a probe's caller would take for the answer's own."""


def _survives(exercise: Exercise, mutant: Mutant) -> bool:
    namespace: dict[str, object] = {"__name__": "mutant"}
    try:
        with _time_limit(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            exec(compile(mutant.code, "<mutant>", "exec"), namespace)
            answer = namespace[exercise.task.answer]
            return all(examine(exercise, answer, seed).credit >= 1 for seed in (SEED, SEED + 1))
    except (Exception, _TooLong):
        return False


@contextmanager
def _time_limit() -> Iterator[None]:
    def stop(signum: int, frame: FrameType | None) -> None:
        raise _TooLong

    previous = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)


def _changes(node: ast.AST) -> Iterator[Change]:
    for name in ("body", "orelse", "finalbody"):
        statements = getattr(node, name, None)
        if isinstance(statements, list):
            for index, statement in enumerate(statements):
                if not _is_text(statement) and not isinstance(statement, ast.Pass):
                    yield _replace(
                        statement, statements, index, ast.Pass(), f"drop {_short(statement)}"
                    )
    if isinstance(node, ast.Compare):
        for table in (SWAPPED, NEIGHBOUR):
            operator = table.get(type(node.ops[0]))
            if operator is not None:
                yield _replace(node, node.ops, 0, operator(), f"compare otherwise: {_short(node)}")
    if isinstance(node, ast.If | ast.IfExp | ast.While):
        turned = ast.UnaryOp(ast.Not(), copy.deepcopy(node.test))
        yield _set(node, "test", turned, f"turn round: {_short(node.test)}")
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        value = node.value
        other = not value if isinstance(value, bool) else value + 1
        yield _set(node, "value", other, f"{value} becomes {other}")
    if isinstance(node, ast.Dict) and node.keys:
        for index, key in enumerate(node.keys):
            yield _without_entry(node, index, f"leave out {_short(key) if key else '**'}")
    if isinstance(node, ast.Call):
        for index, keyword in enumerate(node.keywords):
            kept = node.keywords[:index] + node.keywords[index + 1 :]
            yield _set(node, "keywords", kept, f"leave out {keyword.arg}= in {_short(node)}")


def _replace(place: ast.AST, items: list[Any], index: int, new: ast.AST, what: str) -> Change:
    old = items[index]
    return place, what, partial(setitem, items, index, new), partial(setitem, items, index, old)


def _set(node: ast.AST, name: str, new: object, what: str) -> Change:
    old = getattr(node, name)
    return node, what, partial(setattr, node, name, new), partial(setattr, node, name, old)


def _without_entry(node: ast.Dict, index: int, what: str) -> Change:
    keys, values = node.keys, node.values

    def apply() -> None:
        node.keys = keys[:index] + keys[index + 1 :]
        node.values = values[:index] + values[index + 1 :]

    def undo() -> None:
        node.keys, node.values = keys, values

    return node, what, apply, undo


def _is_text(statement: ast.AST) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _short(node: ast.AST) -> str:
    text = " ".join(ast.unparse(node).split())
    return text if len(text) <= 60 else text[:59] + "…"


if __name__ == "__main__":
    sys.exit(min(main(), 1))
