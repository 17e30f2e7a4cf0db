"""``check`` and ``solution``: what a learner calls in the notebook."""

import html
import inspect
import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from IPython.display import Markdown, display
from torch import Tensor

from course_utils.grading.exercise import (
    PUBLIC_SEED,
    RIGHT,
    Case,
    Exercise,
    Observation,
    Verdict,
    load_exercise,
    load_reference,
)
from course_utils.grading.sandbox.home import Run, apart, attempt, here
from course_utils.grading.sandbox.observing import is_untouched
from course_utils.grading.sandbox.plain import unpack
from course_utils.grading.surface import not_in_graded
from course_utils.resume.compare import differences

UNSEEN = "Only the grader can see whether it is right: this system does not show what it takes."

ERROR = "It raised an error."
NOT_THERE = (
    "It uses {}, which a graded notebook does not have: there it would not run at all. Write it "
    "with PyTorch itself."
)

SHOWN = 300  # characters of a value
CASE = 600  # and of an input: learners call their answer with it, so it is shown whole

_mistakes: dict[str, list[str]] = {}  # by exercise, the messages that came


@dataclass(frozen=True)
class Report:
    """How an answer did.

    Attributes:
        exercise: its id.
        status: ``"correct"``, ``"not attempted yet"``, ``"wrong"``, or ``"not judged here"``, where
            this system does not show what is to be judged.
        credit: the part of the points that is earned, 0 to 1.
        message: what is wrong.
        details: label and text: the input, what was expected, what came.
        hints: one for each mistake so far.
    """

    exercise: str
    status: str
    credit: float = 0.0
    message: str = ""
    details: tuple[tuple[str, str], ...] = ()
    hints: tuple[str, ...] = ()

    def __str__(self) -> str:
        partly = f" ({self.credit:.0%} of the points)" if 0 < self.credit < 1 else ""
        lines = [f"{self.exercise}: {self.status}{partly}"]
        lines += [f"  {self.message}"] if self.message else []
        lines += [f"  {label}: {text}" for label, text in self.details]
        return "\n".join(lines + [f"  hint: {hint}" for hint in self.hints])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        colors = {"correct": "#2E7D32", "wrong": "#C62828"}
        color = colors.get(self.status, "#757575")
        text = html.escape(str(self))
        return f'<pre style="border-left: 4px solid {color}; padding-left: 8px">{text}</pre>'


def check(exercise_id: str, answer: Any) -> Report:
    """Try an answer on the public cases and say how it did.

    Args:
        exercise_id: such as ``"01.2"``.
        answer: the function or class that the exercise asks for.
    """
    exercise = load_exercise(exercise_id)
    if foreign := not_in_graded(answer):
        report = Report(exercise_id, "wrong", message=NOT_THERE.format(foreign))
    else:
        report = examine(exercise, answer, PUBLIC_SEED, apart)
    if os.environ.get("NBGRADER_VALIDATING") and report.status != "correct":
        raise AssertionError(str(report))  # nbgrader's Validate button looks for errors only
    if report.status != "wrong":
        return report
    return replace(report, hints=_hints(exercise, report))


def _hints(exercise: Exercise, report: Report) -> tuple[str, ...]:
    """Return one hint more for each mistake that is new: an error of Python's own is none."""
    mistakes = _mistakes.setdefault(exercise.id, [])
    if report.message not in mistakes and not report.message.startswith(ERROR):
        mistakes.append(report.message)
    return exercise.task.hints[: len(mistakes)]


def solution(exercise_id: str) -> None:
    """Show the reference answer, for learners who give up."""
    exercise = load_exercise(exercise_id)
    try:
        answer = load_reference(exercise_id)
    except ModuleNotFoundError:
        print(f"{exercise.id}: this set is graded and comes without solutions.")
        return
    module = sys.modules[answer.__module__]
    display(Markdown(f"```python\n{inspect.getsource(module).strip()}\n```"))


def examine(exercise: Exercise, answer: Any, seed: int, run: Run = here) -> Report:
    """Try an answer on the cases of a seed and judge it; by default all in this process."""
    if is_untouched(answer, exercise.task.starter, exercise.task.answer):
        return Report(exercise.id, "not attempted yet")
    cases = exercise.cases(seed)
    observed = [attempt(exercise, answer, case, run) for case in cases]
    return conclude(exercise, cases, observed, _expected(exercise, cases))


def expected_file(exercise_id: str) -> Path:
    """Return where a set without references keeps what they do with the public cases."""
    return Path(__file__).parent / "expected" / f"{exercise_id}.safetensors"


def _expected(exercise: Exercise, cases: list[Any]) -> list[Any]:
    stored = expected_file(exercise.id)
    if stored.exists():
        return list(unpack(stored.read_bytes()))
    reference = load_reference(exercise.id)
    return [expect(exercise, reference, case) for case in cases]


def expect(exercise: Exercise, reference: Any, case: Any) -> Any:
    """Return what the reference does with a case.

    Raises:
        RuntimeError: the reference fails, so the exercise is broken.
    """
    seen = attempt(exercise, reference, case, here)
    if seen.status == "unseen":
        return None
    if seen.status != "ran":
        raise RuntimeError(f"the reference of {exercise.id} fails on {case}: {seen.error}")
    return seen.data


def conclude(
    exercise: Exercise, cases: list[Any], observed: list[Observation], expected: list[Any]
) -> Report:
    """Judge every case; the worst one decides, and is the one that is shown."""
    if all(seen.status == "not attempted" for seen in observed):
        return Report(exercise.id, "not attempted yet")
    worst = RIGHT
    details: tuple[tuple[str, str], ...] = ()
    for case, seen, wanted in zip(cases, observed, expected, strict=True):
        verdict = _judge(exercise, case, seen, wanted)
        if verdict.credit < worst.credit:
            worst, details = verdict, _details(case, seen, wanted, verdict)
    status = "correct" if worst.credit >= 1 else "wrong"
    if status == "correct" and any(seen.status == "unseen" for seen in observed):
        return Report(exercise.id, "not judged here", message=UNSEEN)
    return Report(exercise.id, status, worst.credit, cut(worst.message, 1000), details)


def _judge(exercise: Exercise, case: Case, seen: Observation, wanted: Any) -> Verdict:
    if seen.status == "unseen":
        return RIGHT
    if seen.status == "not attempted":
        return Verdict(0.0, "Part of the answer is still missing: it raises NotImplementedError.")
    if seen.status == "failed":
        return Verdict(0.0, f"{ERROR} {seen.error}", came="an error")
    try:
        verdict = exercise.judge(case, seen.data, wanted)
    except Exception as error:  # data of a shape that the judge did not foresee
        return Verdict(0.0, f"The result has another form than asked for ({error!r}).")
    return verdict


def _details(
    case: Any, seen: Observation, wanted: Any, verdict: Verdict
) -> tuple[tuple[str, str], ...]:
    expected, came = verdict.expected or _show(wanted), verdict.came or _show(seen.data)
    if expected == came or max(len(expected), len(came)) > SHOWN:
        place, right, other = _differing(wanted, seen.data)
        if place and not verdict.expected and not verdict.came:
            expected, came = f"at {place}: {_show(right)}", f"at {place}: {_show(other)}"
    expected, came = _around(expected, came)
    return ("input", show(case)), ("expected", expected), ("came", came)


def _differing(wanted: Any, came: Any, place: str = "") -> tuple[str, Any, Any]:
    """Return the first place where plain data differ, and what stands there in both."""
    parts: list[tuple[Any, Any, Any]] = []
    if isinstance(wanted, dict) and isinstance(came, dict):
        parts = [(key, wanted[key], came[key]) for key in wanted if key in came]
    elif isinstance(wanted, list) and isinstance(came, list) and len(wanted) == len(came):
        parts = [(i, a, b) for i, (a, b) in enumerate(zip(wanted, came, strict=True))]
    elif isinstance(wanted, Tensor) and isinstance(came, Tensor) and wanted.shape == came.shape:
        for index in (wanted != came).nonzero().tolist():
            here = tuple(index)
            return f"{place}{index if index else ''}", wanted[here].item(), came[here].item()
    for key, right, other in parts:
        if differences(right, other):
            return _differing(right, other, f"{place}[{key!r}]")
    return place, wanted, came


def _around(one: str, other: str, length: int = SHOWN, before: int = 60) -> tuple[str, str]:
    """Cut two texts, long ones from shortly before the place where they begin to differ."""
    pairs = enumerate(zip(one, other, strict=False))
    same = next((i for i, (a, b) in pairs if a != b), min(len(one), len(other)))
    start = same - before if max(len(one), len(other)) > length and same > before else 0
    dots = "…" if start else ""
    return cut(dots + one[start:], length), cut(dots + other[start:], length)


def show(value: Any) -> str:
    """Describe plain data in one line."""
    return cut(_show(value), CASE)


def cut(text: str, length: int = SHOWN) -> str:
    """Return the beginning of a text that may be of any length."""
    return text if len(text) <= length else text[: length - 1] + "…"


def _show(value: Any) -> str:
    if isinstance(value, Tensor):
        if value.numel() > 6:
            return f"{str(value.dtype).removeprefix('torch.')} tensor {list(value.shape)}"
        return f"{str(value.dtype).removeprefix('torch.')} {value.tolist()}"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key!r}: {_show(v)}" for key, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        marks = "[]" if isinstance(value, list) else "()"
        return marks[0] + ", ".join(map(_show, value)) + marks[1]
    if isinstance(value, bytes):
        return f"{len(value):,} bytes"
    return repr(value)
