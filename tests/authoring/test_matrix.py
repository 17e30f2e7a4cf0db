"""The table of versions says what was run, and why a row was not."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from course_utils.authoring import matrix


def program(path: Path, lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{lines}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def python(tmp_path, monkeypatch):
    """An interpreter whose environments have the program `inside`."""
    inside = tmp_path / "inside"
    make = f'[ "$3" = --help ] || {{ mkdir -p "$3/bin"; cp {inside} "$3/bin/python"; }}'
    program(tmp_path / "bin" / "python9.9", make)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    return inside


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    """Call it as a command; return its status and the table's rows."""

    def call(*arguments):
        folder = ["--folder", str(tmp_path / "kept")]
        monkeypatch.setattr("sys.argv", ["matrix", *folder, *arguments, "tests/x"])
        status = matrix.main()
        lines = capsys.readouterr().out.splitlines()[2:]
        return status, [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]

    return call


ENDS = 'echo "2 failed, 31 passed, 4 skipped in 3.2s"; exit 1'


def test_the_tests_are_counted(python, tmp_path):
    program(python, f'case "$2" in pytest) {ENDS}; esac')
    row = matrix.run("9.9:2.99.0", tmp_path, ["tests/x"], keep=True)
    assert row == matrix.Row("9.9", "2.99.0", 31, 2, 4)
    program(python, "exit 3")
    assert matrix.run("9.9:2.99.0", tmp_path, ["tests/x"]) == row  # in the environment of before
    assert not (tmp_path / "python-9.9-torch-2.99.0").exists()
    assert "31 passed" in (tmp_path / "python-9.9-torch-2.99.0.log").read_text()


def test_a_version_that_pip_refuses_and_the_rows_after_it(python, call):
    program(
        python,
        'case "$*" in *torch==2.99.0*) echo "ERROR: No matching torch==2.99.0" >&2; exit 1;; esac;'
        'case "$2" in pytest) echo "5 passed in 1s";; esac',
    )
    status, rows = call("--row", "9.9:2.99.0", "--row", "9.8:2.6.0", "--row", "9.9:2.6.0")
    assert status == 0
    assert rows == [
        ["9.9", "2.99.0", "–", "–", "–", "pip refuses: No matching torch==2.99.0"],
        ["9.8", "2.6.0", "–", "–", "–", "there is no Python 9.8 here"],
        ["9.9", "2.6.0", "5", "0", "0", ""],
    ]


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        ('echo "5 passed in 1s"', 0),
        ('echo "5 passed, 1 failed in 1s"; exit 1', 1),
        ('echo "5 passed in 1s"; exit 2', 1),
        ('echo "no tests ran in 1s"; exit 5', 1),
    ],
)
def test_it_fails_if_a_test_failed_or_none_was_run(python, call, lines, status):
    program(python, f'case "$2" in pytest) {lines}; esac')
    assert call("--row", "9.9:2.6.0")[0] == status
    assert call("--row", "9.8:2.6.0")[0] == 1


def test_a_row_that_is_done_is_not_run_again_until_the_code_changes(python, call, monkeypatch):
    program(python, 'case "$2" in pytest) echo "5 passed in 1s";; esac')
    assert call("--row", "9.9:2.6.0")[1][0][2] == "5"
    program(python, 'case "$2" in pytest) echo "6 passed in 1s";; esac')
    assert [row[2] for row in call("--row", "9.9:2.6.0", "--row", "9.9:2.7.0")[1]] == ["5", "6"]
    monkeypatch.setattr(matrix, "fingerprint", lambda: "another")
    assert call("--row", "9.9:2.6.0")[1][0][2] == "6"


def test_the_code_has_changed_if_a_file_of_it_has(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    seen = set()
    for content in ("", "1"):
        for name in ("course_utils/a.py", "tests/resume/b.py"):
            program(tmp_path / name, content)
            seen.add(matrix.fingerprint())
    assert len(seen) == 4


def test_a_program_that_only_says_where_pythons_are_is_passed_over(python, tmp_path):
    program(tmp_path / "bin" / "python9.7", "exit 127")
    assert matrix.interpreter("9.7") is None
    real = program(tmp_path / "pyenv" / "versions" / "9.7.1" / "bin" / "python9.7", "exit 0")
    assert matrix.interpreter("9.7") == str(real)


def test_tests_that_did_not_come_to_their_end():
    row = matrix.counted("3.11", "2.99.0", "3 passed, 1 error in 2s", 2)
    assert row == matrix.Row(
        "3.11", "2.99.0", 3, 1, remark="pytest did not come to its end: status 2"
    )


def test_a_row_that_takes_too_long_is_stopped_with_its_processes(python, call, monkeypatch):
    monkeypatch.setattr(matrix, "MINUTES", 1 / 60)
    program(python, 'case "$2" in pytest) echo "... [ 43%]"; sleep 60 & echo $!; sleep 60;; esac')
    status, rows = call("--row", "9.9:2.6.0", "--keep")
    assert status == 1
    assert rows[0][2:5] == ["–", "–", "–"]
    assert rows[0][5].endswith("43 % done")


def test_an_interruption_leaves_what_is_done_and_no_environment(python, tmp_path):
    program(
        python,
        'case "$*" in *torch==*) echo "$*" >> "$(dirname "$0")/../which";; esac;'
        'case "$2" in pytest) grep -q 2.6.0 "$(dirname "$0")/../which" && '
        'echo "5 passed in 1s" || sleep 60;; esac',
    )
    arguments = ["--folder", "kept", "--row", "9.9:2.6.0", "--row", "9.9:2.7.0", "tests/x"]
    process = subprocess.Popen(
        [sys.executable, "-m", "course_utils.authoring.matrix", *arguments],
        cwd=tmp_path, stdout=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": str(Path(matrix.__file__).parents[2])},
    )  # fmt: skip
    while "2.6.0" not in (line := process.stdout.readline()):
        assert line
    while not (tmp_path / "kept" / "python-9.9-torch-2.7.0" / "ready").exists():
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    names = {path.name for path in (tmp_path / "kept").iterdir()}
    assert names == {"rows.json", "python-9.9-torch-2.6.0.log"}
    assert '"passed": 5' in (tmp_path / "kept" / "rows.json").read_text()
