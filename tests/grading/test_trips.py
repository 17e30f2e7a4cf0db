"""From a learning platform's export to its import, by the commands alone, as an instructor does."""

import csv
import io
import stat
import subprocess
import sys
import zipfile
from dataclasses import replace

import pytest
from classroom import SLUG, WRONG_KEYS, Student, hand_in

from course_utils.grading.classroom.course import Course, NbgraderError
from course_utils.grading.classroom.lms import import_roster
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


def trip(folder, platform, roster, files, *options):
    """Release, roster, grade and export; return the grades and what goes back."""
    course = Course.open(folder / "course")
    release(course, [SLUG])
    (folder / "roster.csv").write_text(roster, encoding="utf-8")
    done = command(course, "roster", folder / "roster.csv", *options)
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


def test_canvas_graded_without_names(tmp_path):
    files = {name: student for name, student in CANVAS_FILES.items() if "stranger" not in name}
    grades, back = trip(tmp_path, "canvas", CANVAS_ROSTER, files, "--anonymous")
    assert sorted(row["score"] for row in grades.values()) == ["0.0", "1.0", "2.0"]
    assert all(name.startswith("student-") for name in grades)
    assert {s["ID"]: (s["Student"], s["SIS Login ID"], s[SLUG]) for s in back[1:]} == {
        "12345": ("Lovelace, Ada", "ada", "2.0"),
        "12346": ("Gödel, Kurt", "kurt", "1.0"),
        "12347": ("Noether, Emmy", "emmy", ""),
    }
    course = tmp_path / "course"
    assert stat.S_IMODE((course / "names.csv").stat().st_mode) == 0o600
    seen = [course / "gradebook.db", *(course / "submitted").rglob("*"),
            *(course / "autograded").rglob("*"), *(course / "feedback").rglob("*")]  # fmt: skip
    pages = [path for path in seen if path.is_file()]
    assert len(pages) > 5
    for word in ("lovelace", "12345", "kurt", "emmy"):
        assert not [path for path in seen if word in str(path.relative_to(tmp_path)).lower()]
        assert not [path for path in pages if word.encode() in path.read_bytes().lower()]


def test_a_roster_without_names_comes_first_and_once(tmp_path):
    course, path = Course.open(tmp_path / "course"), tmp_path / "roster.csv"
    path.write_text(CANVAS_ROSTER, encoding="utf-8")
    first = import_roster(course, path, anonymous=True)
    assert import_roster(course, path, anonymous=True) == first
    named = Course.open(tmp_path / "named")
    import_roster(named, path)
    with pytest.raises(NbgraderError, match="ada is in the gradebook by name"):
        import_roster(named, path, anonymous=True)
