"""Answers that are alike but for names, comments and layout: a hint for a human, never a verdict.

Short answers are alike by chance, and some tasks have one natural answer: who reads them decides.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass

import nbformat

from course_utils.grading.classroom.course import Course
from course_utils.grading.exercise import load_exercise

PREFIX = "answer_"
SHORT = 60  # nodes of the syntax tree, below which two answers are alike by chance


@dataclass(frozen=True)
class Group:
    """Students whose answers to an exercise are alike."""

    exercise: str
    students: tuple[str, ...]


def groups(answers: dict[tuple[str, str], str]) -> list[Group]:
    """Return the groups of two students or more, by exercise.

    Args:
        answers: code, by student and exercise.
    """
    found: dict[tuple[str, str], list[str]] = {}
    for (student, exercise_id), code in sorted(answers.items()):
        if form := shape(code):
            found.setdefault((exercise_id, form), []).append(student)
    return sorted(
        (Group(key, tuple(students)) for (key, _), students in found.items() if len(students) > 1),
        key=lambda group: (group.exercise, group.students),
    )


def shape(code: str) -> str:
    """Return what is left of an answer without names, comments, docstrings and layout.

    Empty where it is too short to say anything, or no Python.
    """
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ""
    names: dict[str, str] = {}
    nodes = list(ast.walk(tree))
    for node in nodes:
        _without_docstring(node)
        for field in ("id", "arg", "name"):
            if isinstance(name := getattr(node, field, None), str):
                setattr(node, field, names.setdefault(name, f"n{len(names)}"))
    return ast.dump(tree) if len(nodes) >= SHORT else ""


def handed_in(course: Course) -> dict[tuple[str, str], str]:
    """Return the answers of all students that were graded, starters left out."""
    found: dict[tuple[str, str], str] = {}
    for path in sorted((course.root / "autograded").glob("*/*/*.ipynb")):
        for exercise_id, code in _answers(nbformat.read(path, as_version=4)):
            if code.strip() != load_exercise(exercise_id).task.starter.strip():
                found[path.parents[1].name, exercise_id] = code
    return found


def _answers(notebook: nbformat.NotebookNode) -> Iterator[tuple[str, str]]:
    for cell in notebook.cells:
        name = str(cell.metadata.get("nbgrader", {}).get("grade_id", ""))
        if name.startswith(PREFIX):
            yield name.removeprefix(PREFIX).replace("_", "."), cell.source


def _without_docstring(node: ast.AST) -> None:
    if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node):
        node.body = node.body[1:] or [ast.Pass()]
