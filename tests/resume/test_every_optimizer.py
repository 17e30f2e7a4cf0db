"""Every optimizer with every scheduler, in float32 and bfloat16, resumes bit for bit.

With gradient scaling, an average of the weights, accumulation, dropout, running statistics, a head
that never gets a gradient, and for Muon a second optimizer. Stopped between micro-batches too.
"""

import subprocess
import sys

import every_run
import pytest
from every_run import DTYPES, OPTIMIZERS, PRODUCT, SCHEDULERS, STOPS

# Each optimizer in each dtype once, and each scheduler; neighbours stop at different places.
SAMPLE = [
    (optimizer, list(SCHEDULERS)[(i + j) % len(SCHEDULERS)], dtype)
    for i, optimizer in enumerate(OPTIMIZERS)
    for j, dtype in enumerate(DTYPES)
    if every_run.possible(optimizer, dtype)
]


def in_a_new_process(folder):
    command = [sys.executable, every_run.__file__, folder]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


def test_the_sample_has_all():
    assert {names[0] for names in SAMPLE} == set(OPTIMIZERS)
    assert {names[1] for names in SAMPLE} == set(SCHEDULERS)
    assert len(OPTIMIZERS) >= 19
    assert len(SCHEDULERS) >= 9


def test_a_run_stopped_anywhere_is_continued_by_a_new_process(tmp_path):
    for number, names in enumerate(SAMPLE):
        every_run.save(names, STOPS[number % len(STOPS)], tmp_path)
    assert in_a_new_process(tmp_path) == [f"{len(SAMPLE)} runs continued"]


@pytest.mark.parametrize("micro", STOPS)
def test_one_run_stopped_at_every_micro_batch(tmp_path, micro):
    assert every_run.resume(every_run.save(("Adam", "StepLR", "float32"), micro, tmp_path)) == []


@pytest.mark.torture
@pytest.mark.parametrize("micro", STOPS)
def test_all_of_them_at_every_micro_batch(tmp_path, micro):
    runs = [names for names in PRODUCT if every_run.possible(names[0], names[2])]
    for names in runs:
        every_run.save(names, micro, tmp_path)
    assert in_a_new_process(tmp_path) == [f"{len(runs)} runs continued"]
