"""One submission in a sandbox: its cells, the questions to its answers, and the reading of these.

Where something ends the process, or takes too long, it is left out and the rest begins anew.
"""

import random
import time
from collections import Counter
from dataclasses import asdict, dataclass, replace
from typing import Any

from course_utils.grading.exercise import Case, Exercise, Observation, Watch, module_name
from course_utils.grading.sandbox.claims import Run, as_read, observation, unpacked
from course_utils.grading.sandbox.inside.calls import can_watch
from course_utils.grading.sandbox.observing import same_conditions
from course_utils.grading.sandbox.plain import MAX_BYTES, pack
from course_utils.grading.sandbox.runner import BrokenSandboxError, Cell, Record, Sandbox

MAX_RUNS = 100  # of one submission: each leaves out one more step that ended the process
SLOW = 1.0  # seconds of a cell that is left out where all cells together take too long
DECOY_SEED, DECOYS = 7_919, 0.25  # the part of the exercises in which there is one
EXERCISES = "course_utils.grading.exercises"


@dataclass(frozen=True)
class _Question:
    """One question to one answer, and where its outcome belongs; no case for a decoy."""

    key: str
    question: Any
    watch: Watch
    number: int | None = None


class Trial:
    """Runs one submission.

    Args:
        sandbox: where.
        cells: its code cells.
        exercises: those that are checked in it, by id.
        cases: the cases to try, by exercise id.
    """

    def __init__(
        self,
        sandbox: Sandbox,
        cells: list[Cell],
        exercises: dict[str, Exercise],
        cases: dict[str, list[Case]],
    ) -> None:
        self.sandbox, self.limits = sandbox, sandbox.limits
        self.cells, self.exercises, self.cases = cells, exercises, cases
        self.record = Record()
        self.states: dict[str, str] | None = None  # of the session that runs, if one does
        self.random = random.Random(repr(cases))  # nobody knows it, and it is the same again
        self.left: Counter[str] = Counter()  # questions still to be put, by exercise
        self.started = time.monotonic()

    def run(self) -> Record:
        """Return what came of it."""
        first = [q for key in self.exercises for q in self._questions(key)]
        self.left = Counter(q.key for q in first)
        self._open()
        self._ask_all(first)
        second = [q for key, exercise in self.exercises.items() if exercise.then
                  for q in self._second(key)]  # fmt: skip
        if second:
            before = {key: dict(seen) for key, seen in self.record.seen.items()}
            self.states = None  # in new processes, of another Python: the others know too much
            self.sandbox = self.sandbox.another()
            self.left = Counter(q.key for q in second)
            self._ask_all(second)
            self._join(before)
        self._read()
        return self.record

    def _open(self, direct: str = "") -> dict[str, str]:
        """Run the cells, until they run through, and return which answers can be asked."""
        for _ in range(MAX_RUNS):
            run = self._run_cells(direct)
            if not self.record.texts or len(run.texts) >= len(self.record.texts):
                self.record.texts = run.texts
            if run.states is not None:
                self.states = run.states
                self.record.earlier |= {k for k, s in run.states.items() if s == "earlier"}
                return self.states
            if not self._leave_out(run):
                break
        self.states = {}
        for key in self.exercises:
            if f"check {key}" not in self.record.stopped and key not in self.record.seen:
                self.record.stopped[f"check {key}"] = self._why_not(run.end)
        return self.states

    def _run_cells(self, direct: str) -> Run:
        message = {
            "do": "cells",
            "cells": [asdict(cell) for cell in self.cells],
            "exercises": {
                key: {
                    "answer": e.task.answer,
                    "starter": e.task.starter,
                    "memory": any(e.watch(case).memory for case in self.cases[key]),
                    "questions": self.left[key],
                }
                for key, e in self.exercises.items()
            },
            "skip": [step for step in self.record.stopped if step.startswith("cell ")],
            "direct": direct,
            "calls": can_watch() and self._any_watched(),
            "limits": asdict(self.limits),
        }
        try:
            return Run.of(self.sandbox.call(message))
        except BrokenSandboxError:
            return Run("died")

    def _any_watched(self) -> bool:
        return any(e.watch(c).calls != "" for k, e in self.exercises.items() for c in self.cases[k])

    def _leave_out(self, run: Run) -> bool:
        """Note what the next run is to leave out; return False where there is nothing."""
        stopped = self.record.stopped
        if run.end == "total":
            slow = {n: s for n, s in run.took.items() if s > SLOW and not self.cells[n].answer}
            for number, seconds in slow.items():
                stopped[f"cell {number}"] = (
                    f"all cells together took longer than {self.limits.total_seconds:g} seconds, "
                    f"and this one {seconds:.1f}; it was left out, so that the answers could be "
                    "tried"
                )
            return bool(slow)
        if run.step is None or run.step in stopped:
            return False
        stopped[run.step] = self._why(run.end)
        return time.monotonic() - self.started < 4 * self.limits.total_seconds

    def _questions(self, key: str) -> list[_Question]:
        """Return an exercise's questions in random order; some have one that nobody judges."""
        exercise = self.exercises[key]
        numbered: list[tuple[int | None, Case]] = [*enumerate(self.cases[key])]
        if self.random.random() < DECOYS:
            numbered.append((None, self.random.choice(exercise.cases(DECOY_SEED))))
        asked = []
        for number, case in numbered:
            with same_conditions():
                asked.append(_Question(key, exercise.ask(case), exercise.watch(case), number))
        self.random.shuffle(asked)
        return asked

    def _second(self, key: str) -> list[_Question]:
        """Return the questions that follow from what the answers said to the first."""
        exercise, asked = self.exercises[key], []
        for number, seen in self.record.seen.get(key, {}).items():
            case = self.cases[key][number]
            if seen.status == "ran" and exercise.then is not None:
                try:
                    with same_conditions():
                        question = exercise.then(case, seen.data)
                except Exception as error:  # data of another form than asked for
                    said = f"the result has another form than asked for ({error!r})"
                    self.record.seen[key][number] = Observation("failed", error=said)
                else:
                    asked.append(_Question(key, question, exercise.watch(case), number))
        self.random.shuffle(asked)
        return asked

    def _join(self, before: dict[str, dict[int, Observation]]) -> None:
        """Put what both calls returned together."""
        for key, exercise in self.exercises.items():
            for number, seen in self.record.seen.get(key, {}).items():
                first = before.get(key, {}).get(number)
                if exercise.then and first and first.status == seen.status == "ran":
                    both = replace(seen, data=[first.data, seen.data])
                    self.record.seen[key][number] = both

    def _ask_all(self, questions: list[_Question]) -> None:
        """Put questions, in a new session where the one before has ended."""
        deadline = time.monotonic() + self.limits.total_seconds
        for q in questions:
            step = f"check {q.key}"
            if step in self.record.stopped:
                continue
            if time.monotonic() > deadline:
                self.record.stopped[step] = (
                    "all answers together took longer than "
                    f"{self.limits.total_seconds:g} seconds, and this one had to wait"
                )
                continue
            states = self.states if self.states is not None else self._open()
            if states.get(q.key) == "threads":
                states = self._open(direct=q.key)
                self._ask(q)
                self.states = None
            elif states.get(q.key):
                self._ask(q)

    def _ask(self, q: _Question) -> None:
        self.left[q.key] -= 1
        message = {"do": "ask", "exercise": q.key, "question": pack(q.question),
                   "watch": asdict(q.watch)}  # fmt: skip
        try:
            reply = self.sandbox.call(message)
        except BrokenSandboxError:
            reply = {"end": "died"}
        if reply["end"] == "done":
            if q.number is not None:
                unseen = q.watch.calls == "needed" and not can_watch()
                seen = Observation("unseen") if unseen else observation(reply)
                self.record.seen.setdefault(q.key, {})[q.number] = seen
            return
        self.record.stopped[f"check {q.key}"] = self._why(reply["end"])
        self.states = None

    def _read(self) -> None:
        """Have what came read where none of the student's code ran."""
        todo = [
            (key, number, seen)
            for key, exercise in self.exercises.items()
            for number, seen in self.record.seen.get(key, {}).items()
            if exercise.read is not None and seen.status == "ran"
        ]
        while todo:
            read = self._read_some(todo)
            for (key, number, before), message in zip(todo, read, strict=False):
                self.record.seen[key][number] = as_read(before, message)
            todo = todo[len(read) :]

    def _read_some(self, todo: list[tuple[str, int, Observation]]) -> list[Any]:
        """Return what was read, in order, as far as the reader came, and None for its last."""
        parts = [[f"{EXERCISES}.{module_name(key)}", self.cases[key][number],
                  {**asdict(seen), "calls": list(seen.calls)}]
                 for key, number, seen in todo]  # fmt: skip
        limits = {**asdict(self.limits), "output": 2 * MAX_BYTES * len(todo)}
        message = {"do": "read", "read": parts, "exercises": {}, "calls": False, "limits": limits}
        try:
            messages = unpacked(self.sandbox.call(message)["sent"])
        except BrokenSandboxError:
            messages = []
        read = [message for message in messages if isinstance(message, dict)]
        return read if len(read) == len(todo) else [*read, None]

    def _why_not(self, end: str) -> str:
        if end == "total":
            return (
                "the cells that hold answers took longer than "
                f"{self.limits.total_seconds:g} seconds together, so it could not be tried"
            )
        return f"the notebook could not be run to its end: {self._why(end)}"

    def _why(self, end: str) -> str:
        return self.limits.broken(end) or "it ended the Python process"
