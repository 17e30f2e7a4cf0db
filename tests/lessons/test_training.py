"""A real run, killed for real and continued in a new process."""

import subprocess
import sys

import pytest
import torch

from course_utils.checkpoint import CheckpointManager
from course_utils.lessons.data import Augmented, digits
from course_utils.lessons.steplog import StepLog, read_log
from course_utils.lessons.training import digits_run, evaluate, train_in_new_process
from course_utils.resume.compare import differences


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    folder = tmp_path_factory.mktemp("straight")
    assert train_in_new_process(folder, "--epochs=2") == 0
    return folder


@pytest.mark.parametrize(("kill_at", "workers"), [(1, 0), (30, 0), (70, 2)])
def test_a_killed_run_continues_exactly(straight, tmp_path, kill_at, workers):
    options = ("--epochs=2", f"--workers={workers}")
    assert train_in_new_process(tmp_path, *options, kill_at=kill_at) == -9
    assert len(read_log(tmp_path)) == kill_at - 1
    assert train_in_new_process(tmp_path, *options) == 0
    assert read_log(tmp_path) == read_log(straight)
    states = [CheckpointManager(folder).restore() for folder in (straight, tmp_path)]
    assert differences(*states) == []


def test_another_seed_is_another_run(straight, tmp_path):
    assert train_in_new_process(tmp_path, "--epochs=1", "--seed=1") == 0
    assert read_log(tmp_path)[0]["loss"] != read_log(straight)[0]["loss"]


def test_a_run_that_fails_says_what_it_printed(tmp_path):
    with pytest.raises(RuntimeError, match="unrecognized arguments: --epoch-count"):
        train_in_new_process(tmp_path, "--epoch-count=2")


def test_a_run_is_not_continued_with_another_seed(straight):
    with pytest.raises(RuntimeError, match="was started with seed 0, not 1"):
        train_in_new_process(straight, "--epochs=2", "--seed=1")


def stand_in(monkeypatch, program):
    """Let another program run in place of the training."""
    start = subprocess.Popen
    monkeypatch.setattr(
        subprocess, "Popen", lambda _, **options: start([sys.executable, "-c", program], **options)
    )


def test_a_run_that_hangs_is_ended(tmp_path, monkeypatch):
    stand_in(monkeypatch, "import time; print('still here', flush=True); time.sleep(600)")
    with pytest.raises(RuntimeError, match="still here"):
        train_in_new_process(tmp_path, timeout=2)


def test_a_kill_that_nobody_asked_for_is_a_failure(tmp_path, monkeypatch):
    stand_in(monkeypatch, "import os; os.kill(os.getpid(), 9)")
    with pytest.raises(RuntimeError, match="status -9"):
        train_in_new_process(tmp_path)


def test_a_kill_at_a_step_that_never_comes_is_a_failure(tmp_path, monkeypatch):
    stand_in(monkeypatch, "print('step 90 of 90')")
    with pytest.raises(RuntimeError, match="step 999 never came"):
        train_in_new_process(tmp_path, kill_at=999)


def test_a_finished_run_does_nothing_more(straight):
    before = read_log(straight)
    assert train_in_new_process(straight, "--epochs=2") == 0
    assert read_log(straight) == before


def test_the_log_forgets_steps_that_are_done_again(tmp_path):
    log = StepLog(tmp_path)
    for step in (1, 2, 3):
        log.write(step, torch.tensor(0.1 * step), torch.tensor([step]))
    StepLog(tmp_path, resume_at=2)
    assert [entry["step"] for entry in read_log(tmp_path)] == [1, 2]
    StepLog(tmp_path)
    assert read_log(tmp_path) == []


def test_a_line_that_a_kill_left_unfinished_is_dropped(tmp_path):
    log = StepLog(tmp_path)
    log.write(1, torch.tensor(0.5), torch.tensor([1]))
    with (tmp_path / "steps.jsonl").open("a") as file:
        file.write('{"step": 2, "lo')
    assert [entry["step"] for entry in read_log(tmp_path)] == [1]
    log = StepLog(tmp_path, resume_at=5)  # the checkpoint was on the disk, the log not yet
    log.write(6, torch.tensor(0.5), torch.tensor([6]))
    assert [entry["step"] for entry in read_log(tmp_path)] == [1, 6]


def test_a_run_whose_log_was_lost_can_be_continued(tmp_path):
    StepLog(tmp_path, resume_at=3).write(4, torch.tensor(0.5), torch.tensor([1]))
    assert [entry["step"] for entry in read_log(tmp_path)] == [4]


def test_evaluate_keeps_the_mode_and_the_statistics():
    model = digits_run().state.model
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert 0 <= evaluate(model, digits(train=False)) <= 1
    assert model.training
    assert differences(before, dict(model.state_dict())) == []


def test_shifts_depend_on_seed_epoch_and_index_alone():
    data = Augmented(digits(), seed=1)
    first = [data[index][0] for index in range(20)]
    torch.manual_seed(5)
    assert all(torch.equal(a, data[index][0]) for index, a in enumerate(first))
    data.set_epoch(1)
    assert any(not torch.equal(a, data[index][0]) for index, a in enumerate(first))
    other = Augmented(digits(), seed=2)
    assert any(not torch.equal(a, other[index][0]) for index, a in enumerate(first))
