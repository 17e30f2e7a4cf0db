"""From a learning platform's export to its import, by the commands alone, as an instructor does."""

import csv
import io
import subprocess
import sys
import zipfile
from dataclasses import replace

import pytest
from classroom import SLUG, WRONG_KEYS, Student, hand_in

from course_utils.grading.classroom.course import Course
from course_utils.grading.classroom.release import release
from course_utils.grading.sandbox.jail import can_isolate

pytestmark = pytest.mark.skipif(not can_isolate(), reason="bubblewrap is not usable here")

RIGHT = Student(2.0)
HALF = replace(RIGHT, keys=WRONG_KEYS)
CANVAS_ROSTER = """\ufeffStudent,ID,SIS User ID,SIS Login ID,Section,Essay (777)
,,,,,Manual Posting
    Points Possible,,,,,10
"Lovelace, Ada",12345,u1,ada,A,9
"Gödel, Kurt",12346,u2,kurt,A,8
"Noether, Emmy",12347,u3,emmy,B,
"Student, Test",99,,x,A,
"""
# As Canvas names them; a number after the name is that of an attempt.
CANVAS_FILES = {
    f"lovelaceada_12345_888001_{SLUG}.ipynb": HALF,
    f"lovelaceada_LATE_12345_888002_{SLUG}-1.ipynb": RIGHT,
    f"gödelkurt_12346_888003_{SLUG} (1).ipynb": HALF,
    f"strangerina_55555_888004_{SLUG}.ipynb": RIGHT,
}
MOODLE_ROSTER = """\ufeffFirst name,Surname,ID number,Institution,Department,Email address
Ada,Lovelace,,,,ada@example.org
Kurt,Gödel,k7,,,kurt@example.org
Emmy,Noether,,,,emmy@example.org
"""
MOODLE_FILES = {
    f"Ada Lovelace_991_assignsubmission_file_/{SLUG}.ipynb": RIGHT,
    f"Kurt Gödel_992_assignsubmission_file_/My work/{SLUG}.ipynb": HALF,
    "Emmy Noether_993_assignsubmission_onlinetext_/onlinetext.html": None,
}


def command(course, *arguments):
    start = [sys.executable, "-m", "course_utils.grading", f"--course={course.root}"]
    return subprocess.run(
        [*start, *map(str, arguments)], capture_output=True, text=True, check=False, cwd=course.root
    )


def archive_of(course, folder, files):
    """The zip archive that the platform gives."""
    path = folder / "submissions.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number, (name, student) in enumerate(files.items()):
            data = "<p>I could not do it.</p>"
            if student is not None:
                hand_in(folder / str(number), "x", student, course.released(SLUG))
                data = (folder / str(number) / "x" / f"{SLUG}.ipynb").read_text()
            archive.writestr(name, data)
    return path


def trip(folder, platform, roster, files):
    """Release, roster, grade and export; return the grades and what goes back."""
    course = Course.open(folder / "course")
    release(course, [SLUG])
    (folder / "roster.csv").write_text(roster, encoding="utf-8")
    done = command(course, "roster", folder / "roster.csv")
    assert done.returncode == 0, done.stderr
    graded = command(course, "grade", archive_of(course, folder, files))
    assert graded.returncode == 0, graded.stdout + graded.stderr
    done = command(course, "export", platform)
    assert done.returncode == 0, done.stderr
    grades = csv.DictReader(io.StringIO((course.root / "grades.csv").read_text()))
    back = (course.root / f"{platform}.csv").read_text()
    return {row["student"]: row for row in grades}, list(csv.DictReader(io.StringIO(back)))


def test_canvas(tmp_path):
    grades, back = trip(tmp_path, "canvas", CANVAS_ROSTER, CANVAS_FILES)
    scores = {name: row["score"] for name, row in grades.items()}
    assert scores == {"ada": "2.0", "kurt": "1.0", "emmy": "0.0", "strangerina": "2.0"}
    assert "Of 2 attempts the newest counts: lovelaceada_LATE" in grades["ada"]["note"]
    assert grades["emmy"]["note"] == "nothing was handed in"
    points, *students = back
    assert points["Student"] == "    Points Possible"
    assert {s["ID"]: (s["Student"], s["SIS Login ID"], s[SLUG]) for s in students} == {
        "12345": ("Lovelace, Ada", "ada", "2.0"),
        "12346": ("Gödel, Kurt", "kurt", "1.0"),
        "12347": ("Noether, Emmy", "emmy", ""),
        "": ("strangerina", "strangerina", "2.0"),
    }


def test_moodle(tmp_path):
    grades, back = trip(tmp_path, "moodle", MOODLE_ROSTER, MOODLE_FILES)
    scores = {name: row["score"] for name, row in grades.items()}
    assert scores == {"ada@example.org": "2.0", "k7": "1.0", "emmy@example.org": "0.0"}
    assert "onlinetext" in grades["emmy@example.org"]["note"]
    assert {s["Email address"]: (s["ID number"], s[SLUG]) for s in back} == {
        "ada@example.org": ("", "2.0"),
        "kurt@example.org": ("k7", "1.0"),
        "emmy@example.org": ("", ""),
    }
