"""A run where nothing has changed does nothing, and any change is seen."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from course_utils.grading.classroom import unchanged
from course_utils.grading.classroom.table import Row
from course_utils.grading.classroom.unchanged import Look
from course_utils.grading.limits import Limits

ROWS = [Row("ada", "01_a", 1.0, 2.0, 0.0, "graded", "01.1=1/1", "=odd, [red]note")]
FILES = {
    "course/nbgrader_config.py": "c = 1",
    "course/secret_seed": "7",
    "course/gradebook.db": "points",
    "course/grades.csv": "table",
    "course/names.csv": "pseudonyms",
    "course/release/01/01.ipynb": "released",
    "course/results/x.json": "result",
    "course/feedback/ada/01/01.html": "page",
    "submissions/ada/01.ipynb": "answer",
}


@pytest.fixture
def root(tmp_path):
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def look(root, limits=None, only=()):
    return Look(root / "course", root / "submissions", limits or Limits(), only)


def keep(root, database=None):
    first = look(root)
    first.at_gradebook()
    first.keep(ROWS, database or f"sqlite:///{root / 'course' / 'gradebook.db'}")


def test_nothing_is_known_before_the_first_run(root):
    assert look(root).rows() is None


def test_the_rows_of_the_run_before_come_back_as_they_were(root):
    keep(root)
    assert look(root).rows() == ROWS


@pytest.mark.parametrize("name", FILES)
def test_a_changed_file_is_a_change(root, name):
    keep(root)
    time = (root / name).stat().st_mtime_ns
    (root / name).write_text(FILES[name].swapcase() + "7" * (FILES[name] == "7"))
    os.utime(root / name, ns=(time, time))  # content decides
    assert look(root).rows() is None


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_gone_is_a_change(root, name):
    keep(root)
    (root / name).unlink()
    assert look(root).rows() is None


def test_what_else_is_a_change(root):
    keep(root)
    assert look(root, limits=Limits(seconds=5)).rows() is None
    assert look(root, only=("ada",)).rows() is None
    assert look(root).rows() == ROWS


@pytest.mark.parametrize("make", [
    lambda folder: (folder / "bob").mkdir(),  # who hands in nothing has a row, too
    lambda folder: (folder / "ada" / "link.ipynb").symlink_to("01.ipynb"),
    lambda folder: os.mkfifo(folder / "ada" / "pipe.ipynb"),
    lambda folder: os.utime(folder / "ada" / "01.ipynb", (1, 1)),  # the newest attempt counts
    lambda folder: (folder / "ada" / "01.ipynb").chmod(0),
])  # fmt: skip
def test_what_students_add_is_a_change(root, make):
    keep(root)
    make(root / "submissions")
    assert look(root).rows() is None


def test_a_file_that_nobody_may_read_stops_nothing(root, monkeypatch):
    def refused(path, *arguments):
        if str(path).endswith("01.ipynb"):
            raise PermissionError(13, "Permission denied", str(path))
        return open(path, *arguments)

    monkeypatch.setattr(unchanged, "open", refused, raising=False)
    keep(root)
    assert look(root).rows() == ROWS
    monkeypatch.undo()
    assert look(root).rows() is None


def test_what_changes_while_a_class_is_graded_is_a_change(root):
    first = look(root)
    (root / "submissions" / "ada" / "01.ipynb").write_text("came meanwhile")
    first.at_gradebook()
    first.keep(ROWS, f"sqlite:///{root / 'course' / 'gradebook.db'}")
    assert look(root).rows() is None
    keep(root)
    first = look(root)
    first.at_gradebook()
    (root / "course" / "gradebook.db").write_text("points given by hand meanwhile")
    first.keep(ROWS, f"sqlite:///{root / 'course' / 'gradebook.db'}")
    assert look(root).rows() is None


def test_a_gradebook_elsewhere_is_never_unchanged(root):
    keep(root)
    keep(root, database="postgresql://somewhere/course")
    assert look(root).rows() is None


def test_the_command_says_so_and_shows_the_table_without_pytorch(root):
    keep(root)
    command = ["-m", "course_utils.grading", f"--course={root / 'course'}", "grade"]
    code = (
        "import runpy, sys; sys.argv = ['grading', *sys.argv[1:]]\n"
        "try: runpy.run_module('course_utils.grading', run_name='__main__')\n"
        "except SystemExit as end: print('ended with', end.code)\n"
        "print('heavy:', sorted({'torch', 'nbgrader', 'IPython'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *command[2:], str(root / "submissions")],
        capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert "Nothing has changed since the run before." in done.stdout
    assert "=odd, [red]note" in done.stdout
    assert "ended with 0" in done.stdout
    assert "heavy: []" in done.stdout
    assert {p.name for p in (root / "course").iterdir()} == {
        Path(name).parts[1] for name in FILES if name.startswith("course/")
    }
