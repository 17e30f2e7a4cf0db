"""Cheats and accidents in all lessons, graded as one class: each earns what it deserves."""

import html
import re

import pytest
from attacks import ACCIDENTS, CHEATS, SLUGS, hand_in

from course_utils.grading.classroom.course import Course
from course_utils.grading.classroom.release import release
from course_utils.grading.classroom.run import grade_class
from course_utils.grading.sandbox import Limits
from course_utils.grading.sandbox.jail import can_isolate

pytestmark = [
    pytest.mark.skipif(not can_isolate(), reason="bubblewrap is not usable here"),
    pytest.mark.filterwarnings("ignore:Object of type <Submitted"),  # from within nbgrader
]
STUDENTS = {**CHEATS, **ACCIDENTS}


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    root = tmp_path_factory.mktemp("attacks")
    course = Course.open(root / "course")
    release(course, sorted({SLUGS[student.lesson] for student in STUDENTS.values()}))
    for name, student in STUDENTS.items():
        released = course.released(SLUGS[student.lesson])
        hand_in(root / "submissions", name, student, released)
    limits = Limits(seconds=10, total_seconds=120)
    rows, failures = grade_class(course, root / "submissions", limits=limits)
    return course, {(row.student, row.assignment[:2]): row for row in rows}, failures


def page_of(graded, name):
    course, slug = graded[0], SLUGS[STUDENTS[name].lesson]
    return (course.root / "feedback" / name / slug / f"{slug}.html").read_text()


@pytest.mark.parametrize("name", STUDENTS)
def test_everybody_earns_what_is_deserved(graded, name):
    student, (_, rows, _) = STUDENTS[name], graded
    row = rows[name, student.lesson]
    assert (row.score, row.state) == (student.deserved, "graded"), row


@pytest.mark.parametrize("name", STUDENTS)
def test_the_page_says_why_and_nothing_else(graded, name):
    student, page = STUDENTS[name], page_of(graded, name)
    text = html.unescape(re.sub(r"<[^>]*>", "", page))
    assert html.unescape(student.says) in text
    if student.says_not:
        outputs = page.split('class="output')[1:] or [page]
        assert student.says_not not in (page if "<" in student.says_not else "".join(outputs))
    assert len(page) < 2 * 2**20


def test_nobody_stopped_the_class(graded):
    course, rows, failures = graded
    assert failures == {}
    assert {student for student, _ in rows} == set(STUDENTS)
    assert (course.root / "grades.csv").exists()
