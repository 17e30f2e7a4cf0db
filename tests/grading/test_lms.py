"""Rosters come from Canvas and Moodle, and grades go back."""

import csv

import pytest

from course_utils.grading.classroom.course import Course, NbgraderError, open_gradebook
from course_utils.grading.classroom.intake import identify
from course_utils.grading.classroom.layouts import Person
from course_utils.grading.classroom.lms import export_grades, import_roster

CANVAS = """Student,ID,SIS User ID,SIS Login ID,Section,01 (5)
    Points Possible,,,,,8
"Lovelace, Ada",12345,u1,ada,A,
"Gödel, Kurt",12346,u2,kurt,A,
"Student, Test",99,,x,A,
"""
MOODLE = """\ufeffFirst name,Surname,ID number,Email address
Ada,Lovelace,,ada@example.org
Kurt,Gödel,,kurt@example.org
"""


@pytest.fixture
def course(tmp_path):
    return Course.open(tmp_path / "course")


def roster(course, tmp_path, text):
    path = tmp_path / "roster.csv"
    path.write_text(text, encoding="utf-8")
    return import_roster(course, path)


def test_canvas_students_are_known_by_their_files(course, tmp_path):
    assert roster(course, tmp_path, CANVAS) == ["ada", "kurt"]
    people = [Person("lovelaceada", "12345"), Person("gödelkurt", "12346")]
    assert identify(people, course.roster()) == dict(zip(people, ["ada", "kurt"], strict=True))


def test_moodle_students_are_known_by_their_files(course, tmp_path):
    assert roster(course, tmp_path, MOODLE) == ["ada@example.org", "kurt@example.org"]
    people = [Person("Ada Lovelace", "991"), Person("Kurt Gödel", "992")]
    assert list(identify(people, course.roster()).values()) == [
        "ada@example.org",
        "kurt@example.org",
    ]


def test_two_of_one_name_are_told_apart_by_number_or_not_at_all(course, tmp_path):
    twins = CANVAS.replace("Gödel, Kurt", "Lovelace, Ada")
    assert roster(course, tmp_path, twins) == ["ada", "kurt"]
    people = [Person("lovelaceada", "12346"), Person("lovelaceada", "12345")]
    assert identify(people, course.roster()) == dict(zip(people, ["kurt", "ada"], strict=True))
    people = [Person("Ada Lovelace", "991"), Person("Ada Lovelace", "992")]
    names = identify(people, course.roster()).values()
    assert len(set(names)) == 2
    assert not set(names) & {"ada", "kurt"}, "nobody gets the points of another"


def test_a_roster_with_numbers_alone_will_do(course, tmp_path):
    assert roster(course, tmp_path, 'Student,ID,Section\n"Lovelace, Ada",12345,A\n') == ["12345"]
    person = Person("lovelaceada", "12345")
    assert identify([person], course.roster()) == {person: "12345"}


def test_a_roster_taken_twice_is_one(course, tmp_path):
    roster(course, tmp_path, CANVAS)
    roster(course, tmp_path, CANVAS.replace("Ada", "Augusta Ada"))
    with open_gradebook(course) as gradebook:
        assert {s.id: s.first_name for s in gradebook.students} == {
            "ada": "Augusta Ada",
            "kurt": "Kurt",
        }


def test_a_file_without_students_is_an_error(course, tmp_path):
    with pytest.raises(NbgraderError, match="no student in it"):
        roster(course, tmp_path, "colour\nred\n")


def graded(course, tmp_path):
    roster(course, tmp_path, CANVAS)
    with open_gradebook(course) as gradebook:
        gradebook.add_assignment("01_a")
        gradebook.add_notebook("01_a", "01_a")
        gradebook.add_grade_cell("check_01_1", "01_a", "01_a", max_score=8, cell_type="code")
        gradebook.add_submission("01_a", "ada")
        gradebook.find_grade("check_01_1", "01_a", "01_a", "ada").auto_score = 6.5
        notebook = gradebook.find_submission_notebook("01_a", "01_a", "ada")
        notebook.late_submission_penalty = 1.0
        gradebook.db.commit()


def read(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_canvas_gets_points_by_its_own_numbers(course, tmp_path):
    graded(course, tmp_path)
    assert read(export_grades(course, "canvas")) == [
        ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", "01_a"],
        ["    Points Possible", "", "", "", "", "8.0"],
        ["Gödel, Kurt", "12346", "", "kurt", "", ""],
        ["Lovelace, Ada", "12345", "", "ada", "", "5.5"],
    ]


def test_moodle_finds_students_by_what_it_knows_of_them(course, tmp_path):
    roster(course, tmp_path, MOODLE.replace("Gödel,,", "Gödel,k7,"))
    assert read(export_grades(course, "moodle")) == [
        ["Username", "ID number", "Email address"],
        ["", "k7", "kurt@example.org"],
        ["", "", "ada@example.org"],
    ]


def test_moodle_gets_points_by_username(course, tmp_path):
    graded(course, tmp_path)
    assert read(export_grades(course, "moodle")) == [
        ["Username", "ID number", "Email address", "01_a"],
        ["kurt", "12346", "", ""],
        ["ada", "12345", "", "5.5"],
    ]
