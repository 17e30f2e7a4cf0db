"""A run that was saved is the same run when it is continued, or the save has said why not."""

import re
import subprocess
import sys
import warnings

import pytest
import small_runs
from small_runs import RUNS, SAID, STEPS, STOP

from course_utils.distributed import ShardedRun, load_sharded, save_sharded
from course_utils.errors import CheckpointWriteError, MismatchedCheckpointError
from course_utils.resume import differences
from course_utils.resume.plain import copied


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


REFUSED = {"lbfgs": CheckpointWriteError, "layers_without_shapes_yet": MismatchedCheckpointError}


def sharded(name, seed):
    """Build a run that is saved in shards."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(small_runs, "TrainState", ShardedRun)
        return small_runs.begin(name, seed)


@pytest.mark.filterwarnings("ignore:torch.distributed is")
@pytest.mark.parametrize("name", [name for name in RUNS if name not in REFUSED])
def test_so_it_is_in_shards(tmp_path, name):
    run, step = sharded(name, 0)
    for _ in range(STOP):
        step()
    with warnings.catch_warnings(record=True) as caught:
        save_sharded(tmp_path, STOP, run)
    said = "".join(str(warning.message) for warning in caught)
    assert re.search(SAID[name], said) if name in SAID else not said
    if name not in SAID:
        losses, end = [step() for _ in range(STEPS - STOP)], copied(run.state_dict())
        again, its_step = sharded(name, 99)
        load_sharded(tmp_path, again)
        assert losses == [its_step() for _ in range(STEPS - STOP)]
        assert differences(end, again.state_dict()) == []


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_shards_can_hold_is_refused(tmp_path, name):
    run, step = sharded(name, 0)
    step()
    with pytest.raises(REFUSED[name], match=r"LBFGS|0\.weight has no shape yet"):  # noqa: PT012
        save_sharded(tmp_path, 1, run)
        load_sharded(tmp_path, sharded(name, 99)[0])
