"""Grades one clean notebook: runs it in a sandbox, judges outside, and writes the outputs."""

import hashlib
import json
import re
import threading
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import Any

from nbformat import NotebookNode
from nbformat.v4 import new_output

from course_utils.grading.checking import Report, conclude, expect
from course_utils.grading.classroom.submission import without_controls
from course_utils.grading.exercise import Case, Exercise, Observation, load_exercise, load_reference
from course_utils.grading.sandbox.runner import Cell, Limits, Record, Sandbox
from course_utils.grading.sandbox.student_package import PACKAGE, SANDBOX_MODULES

PREFIX = "check_"

# A sandbox takes one submission at a time, and the references draw from the process's own random
# generators: with two threads in them an honest answer was found wrong.
_lock = threading.Lock()
_sandboxes: dict[Limits, Sandbox] = {}


class UngradableCellError(ValueError):
    """A cell would be graded by code that runs beside the student's."""


@dataclass(frozen=True)
class Result:
    """What grading a notebook gave; plain values, so it can be kept as JSON.

    Attributes:
        credits: from 0 to 1, by exercise.
        reports: what the feedback says, by exercise.
        texts: what each cell printed, by the cell's index in the notebook.
        stopped: why a cell was ended from outside, by its index.
    """

    credits: dict[str, float]
    reports: dict[str, str]
    texts: dict[str, str]
    stopped: dict[str, str]


def grade_id(exercise_id: str) -> str:
    """Return nbgrader's name for the cell that checks an exercise."""
    return PREFIX + exercise_id.replace(".", "_")


def checked_exercise(cell: NotebookNode) -> str:
    """Return the id of the exercise that a cell checks, or an empty text."""
    metadata = cell.metadata.get("nbgrader", {})
    name = str(metadata.get("grade_id", "")) if metadata.get("grade") else ""
    return name.removeprefix(PREFIX).replace("_", ".") if name.startswith(PREFIX) else ""


def digest(notebook: NotebookNode, seed: int, limits: Limits) -> str:
    """Name what decides a result: the cells, seed and limits, exercises' and references' code."""
    cells = [(c.cell_type, c.source, checked_exercise(c)) for c in notebook.cells]
    exercises = [check for _, _, check in cells if check]
    codes = [_code_digest(exercise_id) for exercise_id in exercises]
    return hashlib.sha256(json.dumps([cells, seed, asdict(limits), codes]).encode()).hexdigest()


def grade(notebook: NotebookNode, seed: int, limits: Limits | None = None) -> Result:
    """Grade a notebook in this process's sandbox, which is made when first needed.

    Args:
        notebook: from `submission.clean`.
        seed: of the cases; a secret of the instructor.
        limits: of the sandbox.

    Raises:
        UngradableCellError: it holds an autograded cell of nbgrader's own kind.
    """
    _refuse_other_tests(notebook)
    limits = limits or Limits()
    code = [index for index, cell in enumerate(notebook.cells) if cell.cell_type == "code"]
    cells = [_sandbox_cell(notebook.cells[index]) for index in code]
    exercises = {cell.check: load_exercise(cell.check) for cell in cells if cell.check}
    tasks = {key: exercise.task for key, exercise in exercises.items()}
    with _lock:
        cases = {key: exercise.cases(case_seed(seed, key)) for key, exercise in exercises.items()}
        if limits not in _sandboxes:
            _sandboxes[limits] = Sandbox(limits)
        record = _sandboxes[limits].run(cells, tasks, cases)
        reports = {
            key: _judge(exercise, cases[key], record, seed, _said(notebook, key, code, record))
            for key, exercise in exercises.items()
        }
    stops = {step.removeprefix("cell "): why for step, why in record.stopped.items()}
    return Result(
        {key: report.credit for key, report in reports.items()},
        {key: str(report) for key, report in reports.items()},
        {str(code[n]): text for n, text in record.texts.items() if 0 <= n < len(code)},
        {str(code[int(n)]): why for n, why in stops.items() if n.isdigit() and int(n) < len(code)},
    )


def case_seed(seed: int, exercise_id: str) -> int:
    """Each exercise its own seed: cases of one must not tell those of another."""
    return int.from_bytes(hashlib.sha256(f"{seed} {exercise_id}".encode()).digest()[:4], "big")


def close_sandboxes() -> None:
    """End this process's sandboxes."""
    with _lock:
        while _sandboxes:
            _sandboxes.popitem()[1].close()


def write_outputs(notebook: NotebookNode, result: Result) -> None:
    """Put a result into the notebook's outputs, where nbgrader reads the points of a check."""
    count = 0
    for index, cell in enumerate(notebook.cells):
        if cell.cell_type != "code":
            continue
        count += 1
        cell.execution_count = count
        exercise_id = checked_exercise(cell)
        if exercise_id:
            points = result.credits[exercise_id] * float(cell.metadata.nbgrader["points"])
            data = {"text/plain": f"{points:g}"}
            cell.outputs = [
                _stream(result.reports[exercise_id]),
                new_output("execute_result", data, execution_count=count),
            ]
        elif str(index) in result.stopped:
            cell.outputs = [_stream(f"This cell was stopped: {result.stopped[str(index)]}.")]
        elif text := result.texts.get(str(index), ""):
            cell.outputs = [_stream(text)]


def to_json(result: Result) -> str:
    """Return a result as JSON."""
    return json.dumps(asdict(result), ensure_ascii=False, indent=1)


def from_json(text: str) -> Result:
    """Return the result that `to_json` wrote."""
    return Result(**json.loads(text))


def _refuse_other_tests(notebook: NotebookNode) -> None:
    """An `assert` in the student's process proves nothing, and nbgrader would give all points."""
    for cell in notebook.cells:
        metadata = cell.metadata.get("nbgrader", {})
        tested = metadata.get("grade") and not metadata.get("solution")
        if cell.cell_type == "code" and tested and not checked_exercise(cell):
            raise UngradableCellError(
                f"the cell {metadata['grade_id']!r} tests the answer in the student's own process, "
                "where the student could make it pass. Write an exercise with a judge instead: "
                "see course_utils/grading/__init__.py."
            )


def _sandbox_cell(cell: NotebookNode) -> Cell:
    check = checked_exercise(cell)
    answer = bool(cell.metadata.get("nbgrader", {}).get("solution"))
    return Cell("" if check else cell.source, check, answer)


def _said(notebook: NotebookNode, exercise_id: str, code: list[int], record: Record) -> str:
    """Return the error that the cell of an answer ended with, or ""."""
    for number, index in enumerate(code):
        name = notebook.cells[index].metadata.get("nbgrader", {}).get("grade_id", "")
        if name == grade_id(exercise_id).replace(PREFIX, "answer_"):
            if stopped := record.stopped.get(f"cell {number}"):
                return f"the cell was stopped: {stopped}"
            last = record.texts.get(number, "").strip().rpartition("\n")[2]
            return last[:300] if re.match(r"\w*(Error|Exception|Exit|Interrupt)\b", last) else ""
    return ""


def _judge(exercise: Exercise, cases: list[Case], record: Record, seed: int, said: str) -> Report:
    stopped = record.stopped.get(f"check {exercise.id}")
    seen = record.seen.get(exercise.id, {})
    if stopped:
        return Report(exercise.id, "wrong", 0.0, f"Your answer was stopped: {stopped}.")
    if not seen and said:
        why = f"There is no answer to try: its cell ended with an error. {said}"
        if "course_utils" in said:
            why += f" A graded notebook has of course_utils only {', '.join(SANDBOX_MODULES)}."
        return Report(exercise.id, "wrong", message=why)
    if not seen:
        return Report(exercise.id, "not attempted yet")
    absent = Observation("failed", error="It ended before this case.")
    observed = [seen.get(number, absent) for number in range(len(cases))]
    report = conclude(exercise, cases, observed, _expected(exercise.id, seed))
    # Feedback says what is wrong and what came; the cases themselves stay the instructor's.
    came = tuple(detail for detail in report.details if detail[0] == "came")
    if exercise.id in record.earlier:
        came += (("note", "the starter stands below your answer again; the answer was taken"),)
    return replace(report, details=came)


@cache
def _expected(exercise_id: str, seed: int) -> list[Any]:
    exercise, reference = load_exercise(exercise_id), load_reference(exercise_id)
    cases = exercise.cases(case_seed(seed, exercise_id))
    return [expect(exercise, reference, case) for case in cases]


@cache
def _code_digest(exercise_id: str) -> str:
    name = f"ex_{exercise_id.replace('.', '_')}.py"
    parts = [
        (PACKAGE / "grading" / kind / name).read_bytes() for kind in ("exercises", "solutions")
    ]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def _stream(text: str) -> NotebookNode:
    text = without_controls(text)
    return new_output("stream", name="stdout", text=text if text.endswith("\n") else text + "\n")
