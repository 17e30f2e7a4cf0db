"""A class of honest, careless and hostile students, graded in one run, judged case by case.

Each does the first two exercises, worth a point each, and leaves the others untouched.
"""

import csv
import html
import re
import socket
from pathlib import Path

import nbformat
import pytest
from classroom import MARK, SLUG, careless, hand_in, honest, hostile
from nbformat.v4 import new_code_cell, new_notebook

from course_utils.grading.classroom.course import Course
from course_utils.grading.classroom.grader import UngradableCellError, grade
from course_utils.grading.classroom.intake import safe_name
from course_utils.grading.classroom.release import release
from course_utils.grading.classroom.run import grade_class
from course_utils.grading.exercise import all_exercises, load_exercise
from course_utils.grading.sandbox.jail import can_isolate
from course_utils.grading.sandbox.runner import Limits

pytestmark = [
    pytest.mark.skipif(not can_isolate(), reason="bubblewrap is not usable here"),
    pytest.mark.filterwarnings("ignore:Object of type <Submitted"),  # from within nbgrader
]
MAXIMUM = sum(load_exercise(e).task.points for e in all_exercises(SLUG[:2]))
LIMITS = Limits(seconds=3, memory=700 * 2**20, processes=20, file=2**22)


class Class:
    """The graded class: rows of grades.csv by student, and the feedback pages."""

    def __init__(self, root, students, rows, failures):
        self.root, self.students, self.failures = root, students, failures
        self.rows = {row.student: row for row in rows}

    def row(self, name):
        return self.rows[safe_name(name)]

    def feedback(self, name):
        return (self.root / "feedback" / safe_name(name) / SLUG / f"{SLUG}.html").read_text()


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    root = tmp_path_factory.mktemp("class")
    course = Course.open(root / "course")
    release(course, [SLUG])
    secret = root / "course" / "gradebook.db"
    api = course.nbgrader()
    with api.gradebook as gradebook:
        gradebook.add_student("missing mia")
    with socket.create_server(("127.0.0.1", 0)) as server:
        students = {
            **honest(), **hostile(secret, server.getsockname()[1]), **careless(secret)
        }  # fmt: skip
        for name, student in students.items():
            hand_in(root / "submissions", name, student, course.released(SLUG))
        rows, failures = grade_class(course, root / "submissions", limits=LIMITS)
    return Class(root / "course", students, rows, failures)


HONEST = list(honest())
HOSTILE = list(hostile(Path("x/y"), 1))
CARELESS = list(careless(Path("x")))


@pytest.mark.parametrize("name", HONEST + HOSTILE + CARELESS)
def test_a_student_earns_what_the_honest_part_earns(graded, name):
    row, student = graded.row(name), graded.students[name]
    assert (row.score, row.max_score, row.state) == (student.score, MAXIMUM, "graded"), row


@pytest.mark.parametrize("name", HONEST + HOSTILE + CARELESS)
def test_the_reason_is_in_the_feedback(graded, name):
    page = html.unescape(re.sub(r"<[^>]*>", "", graded.feedback(name)))
    assert graded.students[name].says in page


def test_nobody_stopped_the_others(graded):
    assert graded.failures == {}
    assert len(graded.rows) == len(graded.students) + 1


def test_a_missing_student_has_a_row(graded):
    row = graded.row("missing mia")
    assert (row.score, row.max_score, row.state) == (0.0, MAXIMUM, "missing")


@pytest.mark.parametrize("name", HOSTILE)
def test_nothing_leaked_to_an_attacker(graded, name):
    page = graded.feedback(name)
    others = page.replace(html.escape(graded.students[name].keys or ""), "")
    assert "SQLite format" not in page
    assert "solutions/ex_01" not in page
    assert others.count(MARK) <= 1  # its own copy, highlighted


def test_nothing_was_written_outside(graded):
    assert not (graded.root / "pwned").exists()
    assert not (graded.root.parent / "pwned").exists()


@pytest.mark.parametrize(
    "name", ["script in the page", "script in Markdown", "script in a raw cell"]
)
def test_no_script_of_a_student_runs_in_the_instructors_browser(graded, name):
    page = graded.feedback(name)
    assert "<script>alert" not in page
    for tag in re.findall(r"<[^>]*>", page):
        assert "onerror" not in tag
        assert "javascript:alert" not in tag


def test_the_cases_of_the_grading_are_not_in_the_feedback(graded):
    for name in ("bo", "cem"):
        page = graded.feedback(name)
        assert "  input: " not in page
        assert "  expected: " not in page
        assert "  came: " in page


def test_the_gradebook_agrees_with_the_table(graded):
    course = Course.open(graded.root)
    with course.nbgrader().gradebook as gradebook:
        for name in HONEST:
            submission = gradebook.find_submission(SLUG, safe_name(name))
            assert submission.score == graded.students[name].score
            assert not submission.needs_manual_grade


def test_grades_csv_holds_every_student_and_no_formula(graded):
    with (graded.root / "grades.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["student"].removeprefix("'") for row in rows} == set(graded.rows)
    assert not any(value.startswith(("=", "+", "@")) for row in rows for value in row.values())
    anna = next(row for row in rows if row["student"] == "anna")
    assert anna["score"] == "2.0"
    assert anna["points"].startswith("01.1=1/1 01.2=1/1 01.3=0/2")


def test_the_release_holds_starters_and_no_answer(graded):
    notebook = nbformat.read(graded.root / "release" / SLUG / f"{SLUG}.ipynb", as_version=4)
    text = "\n".join(cell.source for cell in notebook.cells)
    assert "raise NotImplementedError" in text
    assert "deepcopy(model.state_dict())" not in text
    assert "solution(" not in text


def test_a_test_in_the_students_process_is_refused():
    """nbgrader would take a cell without an error in its outputs for right."""
    metadata = {"grade": True, "solution": False, "grade_id": "my_test", "points": 5}
    cell = new_code_cell("assert keys(module) == []", metadata={"nbgrader": metadata})
    with pytest.raises(UngradableCellError, match="'my_test' tests the answer"):
        grade(new_notebook(cells=[cell]), seed=1)
