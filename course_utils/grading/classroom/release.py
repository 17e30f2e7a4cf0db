"""Builds what students get: nbgrader's assignments, and the course without its answers."""

import shutil
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from course_utils.grading.checking import expect, expected_file
from course_utils.grading.classroom.course import Course, succeed
from course_utils.grading.classroom.grader import grade_id
from course_utils.grading.exercise import (
    PUBLIC_SEED,
    all_exercises,
    load_exercise,
    load_reference,
)
from course_utils.grading.sandbox.plain import pack
from course_utils.grading.sandbox.student_package import PACKAGE, SANDBOX_MODULES
from course_utils.grading.sheets import check_line, lesson_title, task_text

REPOSITORY = PACKAGE.parent
HANDOUT = (
    "pyproject.toml",
    "constraints.txt",
    "environment.yml",
    "Makefile",
    "README.md",
    "LICENSE",
)


def release(course: Course, slugs: list[str]) -> None:
    """Release lessons: write nbgrader's source notebooks, and make the assignments of them.

    Args:
        course: where to.
        slugs: of lessons, such as ``"01_state_dict_anatomy"``.

    Raises:
        NbgraderError: nbgrader refused, as it does when cells change after submissions came.
    """
    nbgrader = course.nbgrader()
    for slug in slugs:
        source = course.root / "source" / slug / f"{slug}.ipynb"
        source.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(assignment(slug), source)
        with course.here():
            succeed(nbgrader.generate_assignment(slug, force=True))


def assignment(slug: str) -> NotebookNode:
    """Return a lesson's exercises as a notebook with nbgrader's metadata."""
    allowed = ", ".join(f"`{name}`" for name in SANDBOX_MODULES)
    intro = (
        f"# Assignment: {lesson_title(slug)}\n\n"
        "Write your answers in the cells below the tasks. `check` tries them on public cases; "
        "other cases decide the grade. Keep the names of the functions.\n\n"
        "Your notebook is graded on a machine without network. Of `course_utils` it has only "
        f"{allowed}."
    )
    cells = [new_markdown_cell(intro), new_code_cell("from course_utils.grading import check")]
    for exercise_id in all_exercises(slug[:2]):
        exercise = load_exercise(exercise_id)
        name = grade_id(exercise_id)
        answer = new_code_cell(exercise.task.starter.strip())
        answer.metadata["nbgrader"] = _metadata(name.replace("check", "answer"), solution=True)
        check = new_code_cell(check_line(exercise))
        check.metadata["nbgrader"] = _metadata(name, points=exercise.task.points)
        cells += [new_markdown_cell(task_text(exercise)), answer, check]
    for number, cell in enumerate(cells):
        cell.id = f"cell-{number}"
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return new_notebook(cells=cells, metadata={"kernelspec": kernel})


def write_handout(course: Course) -> Path:
    """Write the course as students of a graded class get it, without solutions; return where.

    Exercises are checked against stored results of the public cases in place of the references.
    """
    folder = course.root / "handout"
    shutil.rmtree(folder, ignore_errors=True)
    without = shutil.ignore_patterns("__pycache__", "solutions")
    shutil.copytree(PACKAGE, folder / "course_utils", ignore=without)
    for exercise_id in all_exercises():
        path = folder / expected_file(exercise_id).relative_to(REPOSITORY)
        path.parent.mkdir(exist_ok=True)
        data = _expected_data(exercise_id)
        path.write_bytes(data)
    notebooks = shutil.ignore_patterns("scratch", "source", "exercises", ".ipynb_checkpoints")
    shutil.copytree(REPOSITORY / "notebooks", folder / "notebooks", ignore=notebooks)
    (folder / "notebooks" / "exercises").mkdir()
    for slug in course.lessons():
        target = folder / "notebooks" / "exercises" / f"{slug}.ipynb"
        nbformat.write(course.released(slug), target)
    for name in HANDOUT:
        if (REPOSITORY / name).exists():
            shutil.copy(REPOSITORY / name, folder)
    return folder


def _expected_data(exercise_id: str) -> bytes:
    exercise, reference = load_exercise(exercise_id), load_reference(exercise_id)
    return pack([expect(exercise, reference, case) for case in exercise.cases(PUBLIC_SEED)])


def _metadata(name: str, *, solution: bool = False, points: int = 0) -> dict[str, object]:
    metadata = {
        "schema_version": 3, "grade_id": name, "solution": solution, "grade": not solution,
        "locked": not solution, "task": False, "cell_type": "code",
    }  # fmt: skip
    return metadata if solution else {**metadata, "points": points}
