"""No state that saves and does not load: runs put together at random, loaded by a new process."""

import subprocess
import sys

import any_run
import pytest
from any_run import KINDS

pytestmark = pytest.mark.filterwarnings("ignore")


def assert_all_come_back(numbers, folder):
    """Save the runs of these numbers as both kinds, and load them in one new process."""
    saved = [any_run.save(kind, n, folder) for n in numbers for kind in KINDS.values()]
    # The others were refused: every hundredth value has no place in a safe file, and LBFGS none
    # in a sharded one.
    assert sum(saved) > 0.6 * len(saved)
    command = [sys.executable, any_run.__file__, folder]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"{sum(saved)} runs came back"]


def test_what_was_saved_comes_back_in_a_new_process(tmp_path):
    assert_all_come_back(range(30), tmp_path)


@pytest.mark.torture
@pytest.mark.parametrize("start", range(1000, 2000, 100))
def test_so_does_every_other(tmp_path, start):
    assert_all_come_back(range(start, start + 100), tmp_path)
