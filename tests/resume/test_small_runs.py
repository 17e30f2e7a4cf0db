"""A run that was saved is the same run when it is continued, or the save has said why not."""

import re
import subprocess
import sys

import pytest
import small_runs
from small_runs import RUNS, SAID


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """What each save said, and what a new process found at the end of the run, by name."""
    folder = tmp_path_factory.mktemp("runs")
    said = {name: small_runs.save(name, folder) for name in RUNS}
    command = [sys.executable, small_runs.__file__, folder]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    ended = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    assert ended.keys() == RUNS.keys()
    return said, ended


@pytest.mark.parametrize("name", [name for name in RUNS if name not in SAID])
def test_it_goes_on_to_the_last_bit_and_nothing_was_said(outcome, name):
    said, ended = outcome
    assert (ended[name], said[name]) == ("exact", [])


@pytest.mark.parametrize("name", SAID)
def test_it_goes_on_otherwise_and_that_was_said_once(outcome, name):
    said, ended = outcome
    assert ended[name].startswith("differs")
    (warning,) = said[name]
    assert re.search(SAID[name], warning)
