"""The table of versions says what was run, and why a row was not."""

import os
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
    program(tmp_path / "bin" / "python9.9", f'mkdir -p "$3/bin"; cp {inside} "$3/bin/python"')
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    return inside


def test_the_tests_are_counted(python, tmp_path):
    program(
        python, 'case "$2" in pytest) echo "2 failed, 31 passed, 4 skipped in 3.2s"; exit 1; esac'
    )
    row = matrix.run("9.9", "2.99.0", tmp_path / "kept", ["tests/x"])
    assert (row.passed, row.failed, row.skipped, row.remark) == (31, 2, 4, "")
    assert str(matrix.table([row])).splitlines()[1].split() == ["9.9", "2.99.0", "31", "2", "4"]
    program(python, "exit 3")
    kept = matrix.run("9.9", "2.99.0", tmp_path / "kept", ["tests/x"])
    assert kept == row  # the environment was taken that is there


def test_a_version_that_pip_refuses(python, tmp_path):
    program(python, 'echo "ERROR: No matching distribution found for torch==2.99.0" >&2; exit 1')
    row = matrix.run("9.9", "2.99.0", tmp_path / "kept", [])
    assert row.remark == "pip refuses: No matching distribution found for torch==2.99.0"
    assert not list((tmp_path / "kept").glob("*"))
    assert "–" in str(matrix.table([row]))


def test_a_python_that_is_not_there(tmp_path):
    row = matrix.run("9.8", "2.99.0", tmp_path, [])
    assert row.remark == "there is no python9.8 here"


def test_tests_that_did_not_come_to_their_end():
    row = matrix.counted("3.11", "2.99.0", "3 passed, 1 error in 2s", 2)
    assert (row.passed, row.failed, row.remark) == (
        3,
        1,
        "pytest did not come to its end: status 2",
    )


@pytest.mark.parametrize(
    ("rows", "status"),
    [
        ([matrix.Row("3.11", "2.6.0", passed=5)], 0),
        ([matrix.Row("3.11", "2.6.0", passed=5), matrix.Row("3.12", "2.6.0", remark="none")], 0),
        ([matrix.Row("3.11", "2.6.0", passed=5, failed=1)], 1),
        ([matrix.Row("3.11", "2.6.0", remark="pip refuses: all")], 1),
    ],
)
def test_it_fails_if_a_test_failed_or_none_was_run(monkeypatch, capsys, rows, status):
    left = iter(rows)
    monkeypatch.setattr(matrix, "run", lambda *_: next(left))
    versions = ["--torch", "2.6.0", "--python", *(row.python for row in rows)]
    monkeypatch.setattr("sys.argv", ["matrix", *versions, "--"])
    assert matrix.main() == status
    assert "skipped" in capsys.readouterr().out
