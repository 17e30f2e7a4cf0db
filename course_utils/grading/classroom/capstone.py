"""Grades the capstone: tries every student's script behind walls, and writes ``capstone.csv``."""

import hashlib
import json
import subprocess
import tempfile
from dataclasses import asdict
from functools import partial
from pathlib import Path

from tqdm import tqdm

from course_utils.files.durable import write_atomically
from course_utils.grading.classroom.course import Course
from course_utils.grading.classroom.grader import case_seed
from course_utils.grading.classroom.intake import identify
from course_utils.grading.classroom.layouts import HandIn, Nothing, Wanted, hand_ins
from course_utils.grading.classroom.pool import do_all
from course_utils.grading.classroom.rows import NOTHING
from course_utils.grading.classroom.submission import without_controls
from course_utils.grading.classroom.table import Row, write_csv
from course_utils.grading.classroom.unchanged import PACKAGE, digest_of
from course_utils.grading.limits import Limits
from course_utils.grading.sandbox.scripts import Walled
from course_utils.lessons.capstone import PROPERTIES, Finding, Verdict, examine

NAME = "capstone"
POINTS = 3.0  # for each property
SCRIPT = Wanted(".py", "script")
NAMES = ["train", NAME]  # what a file's name may hold beside the student's


def grade_capstone(
    course: Course,
    submissions: Path,
    *,
    limits: Limits | None = None,
    workers: int | None = None,
    again: bool = False,
) -> tuple[list[Row], dict[str, str]]:
    """Grade a folder of scripts; one that was tried already is not tried again.

    Args:
        course: whose roster and secret seed count.
        submissions: in any layout that `layouts` knows, with scripts in the notebooks' place.
        limits: of each start of a script.
        workers: students at once; as many as there are cores by default.
        again: run everything again.

    Returns:
        The rows of ``capstone.csv``, and by student what could not be graded; a file that is
        nobody's stands there under its name.

    Raises:
        FileNotFoundError: there is no such folder, or nothing in it.
    """
    work = partial(
        try_script,
        seed=case_seed(int((course.root / "secret_seed").read_text()), NAME),
        limits=limits or Limits(),
    )
    scripts, notes, problems = _take_in(course, submissions)
    results = course.root / NAME / "results"
    results.mkdir(parents=True, exist_ok=True)
    kept = {student: results / f"{_digest(work, data)}.json" for student, data in scripts.items()}
    todo = {s: data for s, data in scripts.items() if again or not kept[s].exists()}
    for student, outcome in tqdm(do_all(work, todo, workers), total=len(todo), desc="Trying"):
        if isinstance(outcome, Exception):
            problems[student] = f"{type(outcome).__name__}: {outcome}"
        else:
            _write(kept[student], json.dumps([asdict(f) for f in outcome.findings]))
    rows = []
    for student in sorted(notes.keys() | set(course.roster())):
        if student not in scripts or student in problems:
            note = problems.get(student, notes.get(student) or NOTHING)
            rows.append(_row(student, None, note))
            continue
        findings = json.loads(kept[student].read_text(encoding="utf-8"))
        verdict = Verdict(tuple(Finding(**finding) for finding in findings))
        rows.append(_row(student, verdict, notes[student]))
        _write(course.root / NAME / f"{student}.txt", f"{verdict}\n")
    write_csv(course.root / f"{NAME}.csv", rows)
    return rows, problems


def try_script(data: bytes, seed: int, limits: Limits) -> Verdict:
    """Examine a script behind walls, if there are any on this machine.

    Args:
        data: the script.
        seed: decides the labels of the digits that it sees.
        limits: of each of its starts.
    """
    folder = Path(tempfile.mkdtemp())
    try:
        (folder / "train.py").write_bytes(data)
        verdict = examine(folder / "train.py", folder / "runs", start=Walled.by(limits), seed=seed,
                          seconds=limits.seconds)  # fmt: skip
    finally:  # folders too deep for Python's own functions, or closed to all
        subprocess.run(["chmod", "-R", "u+rwx", str(folder)], capture_output=True, check=False)
        subprocess.run(["rm", "-rf", str(folder)], capture_output=True, check=False)
    said = (Finding(f.name, f.holds, without_controls(f.seen)) for f in verdict.findings)
    return Verdict(tuple(said))


def _take_in(
    course: Course, submissions: Path
) -> tuple[dict[str, bytes], dict[str, str], dict[str, str]]:
    """Return scripts and notes by student, and what is nobody's with the reason."""
    found = list(hand_ins(submissions, NAMES, SCRIPT))
    if not found:
        raise FileNotFoundError(f"{submissions}: nothing in it; wanted is <student>/train.py")
    students = identify({item.person for item in found if item.person}, course.roster())
    attempts: dict[str, list[HandIn]] = {}
    notes: dict[str, list[str]] = {}
    nobodys: dict[str, str] = {}
    for item in found:
        if item.person is None:
            nobodys[item.label] = item.reason if isinstance(item, Nothing) else ""
        elif isinstance(item, Nothing):
            notes.setdefault(students[item.person], []).append(f"{item.label}: {item.reason}")
        else:
            attempts.setdefault(students[item.person], []).append(item)
            notes.setdefault(students[item.person], [])
    scripts = {}
    for student, items in attempts.items():
        newest = max(items, key=lambda item: ("train" in item.name.lower(), item.attempt))
        if len(items) > 1:
            notes[student].append(f"Of {len(items)} scripts {newest.label} counts.")
        try:
            scripts[student] = newest.read()
        except OSError as error:
            why = error.strerror or "it cannot be read"
            notes[student].append(f"{newest.label}: {why}")
    return scripts, {student: " ".join(said) for student, said in notes.items()}, nobodys


def _row(student: str, verdict: Verdict | None, note: str) -> Row:
    most = POINTS * len(PROPERTIES)
    if verdict is None:
        return Row(student, NAME, 0.0, most, 0.0, "missing", "", note)
    holds = {finding.name: finding.holds for finding in verdict.findings}
    points = {name: POINTS * holds.get(name, False) for name in PROPERTIES}
    told = " ".join(f"{name}={value:g}/{POINTS:g}" for name, value in points.items())
    return Row(student, NAME, sum(points.values()), most, 0.0, "graded", told, note)


def _digest(work: "partial[Verdict]", data: bytes) -> str:
    """Name what decides a verdict: script, seed, limits, and the whole package."""
    told = [work.keywords["seed"], asdict(work.keywords["limits"]), digest_of(PACKAGE, ".py")]
    return hashlib.sha256(json.dumps(told).encode() + data).hexdigest()


def _write(path: Path, text: str) -> None:
    data = text.encode("utf-8", "replace")
    write_atomically(path, lambda file: file.write(data))
