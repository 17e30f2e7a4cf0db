"""What an exercise is: a task to read, cases to try, a probe that runs, a judge that decides."""

import importlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any, Literal

PUBLIC_SEED = 0  # the cases a learner is checked with; grading draws its own seed

Plain = Any  # what course_utils.grading.sandbox.plain can pack: tensors, numbers, texts, containers
Case = dict[str, Plain]


@dataclass(frozen=True)
class Task:
    """What the learner reads and starts from.

    Attributes:
        title: a few words.
        difficulty: decides the points: easy 1, medium 2, hard 3.
        minutes: how long it takes a learner who has read the lesson.
        answer: the name of the function or class the learner writes.
        text: the task, in Markdown.
        hints: one more is shown with each new mistake, from vague to plain.
        starter: the code the learner starts from; it defines ``answer``.
    """

    title: str
    difficulty: Literal["easy", "medium", "hard"]
    minutes: int
    answer: str
    text: str
    hints: tuple[str, ...]
    starter: str

    @property
    def points(self) -> int:
        """How much it counts in a grade."""
        return {"easy": 1, "medium": 2, "hard": 3}[self.difficulty]


@dataclass(frozen=True)
class Verdict:
    """What a judge says about one case.

    Attributes:
        credit: from 0 to 1; an exercise's credit is the smallest of its cases.
        message: what is wrong, in the learner's terms; empty when all is right.
        expected, came: how to show both, where the whole data would be too much.
    """

    credit: float
    message: str = ""
    expected: str = ""
    came: str = ""


RIGHT = Verdict(1.0)


def wrong(message: str, expected: object = "", came: object = "", credit: float = 0.0) -> Verdict:
    """Return the verdict on an answer that is not, or not wholly, right."""
    return Verdict(credit, message, str(expected), str(came))


@dataclass(frozen=True)
class Watch:
    """What is seen, and done, from outside while an answer runs.

    Attributes:
        calls: note the system calls that `inside.calls.Listener` knows: ``"wanted"``, or
            ``"needed"`` where there can be no verdict without.
        fails: ``"fsync"`` or ``"replace"``: the kernel refuses these calls.
        memory: measure the most memory that it takes.
        files: collect what lies in the folder of the case when it is over.
    """

    calls: Literal["", "wanted", "needed"] = ""
    fails: str = ""
    memory: bool = False
    files: bool = False


@dataclass(frozen=True)
class Observation:
    """What an answer did with one case.

    Attributes:
        status: ``"ran"``, or why there is nothing to judge. ``"unseen"``: only the grader's
            sandbox can see it.
        data: what the probe returned; after an exercise's ``then``, what both calls returned.
        error: the exception, if one was raised, and the line it came from.
        calls: what was seen from outside.
        memory: bytes at the most, beyond those of the process it was forked from.
        left: by name, what lay in the folder of the case; None for what is no small file.
    """

    status: Literal["ran", "failed", "not attempted", "unseen"]
    data: Plain = None
    error: str = ""
    calls: tuple[str, ...] = ()
    memory: int = 0
    left: dict[str, bytes | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Exercise:
    """One exercise, as its module in `course_utils.grading.exercises` defines it.

    Attributes:
        id: ``"01.2"`` is the second exercise of lesson 01.
        task: what the learner reads.
        cases: from a seed, the inputs to try: plain data.
        ask: the question that a case puts; it alone comes to where the answer runs. What stands
            in it under ``"files"`` lies in the folder where the probe runs.
        probe: run the answer on a question and return what came: plain data, no opinion.
        watch: what is to be seen from outside meanwhile.
        then: from a case and what the probe returned, a second question, put to a new process.
        read: in a process without any student's code, turn what came into what is judged.
        judge: compare it with what the reference did in the same way.
    """

    id: str
    task: Task
    cases: Callable[[int], list[Case]]
    probe: Callable[[Any, Any], Plain]
    judge: Callable[[Case, Plain, Plain], Verdict]
    ask: Callable[[Case], Any]
    watch: Callable[[Case], Watch]
    then: Callable[[Case, Plain], Any] | None
    read: Callable[[Case, Observation], Plain] | None

    @property
    def lesson(self) -> str:
        """The number of its lesson."""
        return self.id.split(".")[0]


def load_exercise(exercise_id: str) -> Exercise:
    """Return an exercise by its id, such as ``"01.2"``.

    Raises:
        KeyError: there is no such exercise.
    """
    if exercise_id not in all_exercises():
        raise KeyError(f"there is no exercise {exercise_id!r}, only {', '.join(all_exercises())}")
    module = importlib.import_module(f"{__package__}.exercises.{module_name(exercise_id)}")
    return Exercise(
        exercise_id,
        module.TASK,
        module.cases,
        module.probe,
        module.judge,
        ask=getattr(module, "ask", lambda case: case),
        watch=getattr(module, "watch", lambda case: Watch()),
        then=getattr(module, "then", None),
        read=getattr(module, "read", None),
    )


def all_exercises(lesson: str = "") -> list[str]:
    """Return the ids of all exercises, or of one lesson such as ``"01"``, in order."""
    names = _modules(files(f"{__package__}.exercises").iterdir())
    ids = (f"{lesson_}.{int(number)}" for _, lesson_, number in (n.split("_") for n in names))
    return sorted((i for i in ids if i.startswith(lesson)), key=lambda i: (i[:2], int(i[3:])))


def load_reference(exercise_id: str) -> Any:
    """Return the reference answer of an exercise.

    Raises:
        ModuleNotFoundError: in a set handed to students, which comes without them.
    """
    module = importlib.import_module(f"{__package__}.solutions.{module_name(exercise_id)}")
    return getattr(module, load_exercise(exercise_id).task.answer)


def module_name(exercise_id: str) -> str:
    """Return the name of an exercise's modules: ``"01.2"`` lives in ``ex_01_2``."""
    return "ex_" + exercise_id.replace(".", "_")


def _modules(entries: Iterable[Any]) -> list[str]:
    return [e.name.removesuffix(".py") for e in entries if e.name.startswith("ex_")]
