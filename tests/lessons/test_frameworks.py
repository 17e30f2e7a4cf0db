"""What lesson 10 says of each framework; and every part of every repair is needed."""

import importlib
import os
import subprocess
import sys
from importlib.util import find_spec
from unittest import mock

import pytest
import torch
from torch.nn.modules.module import _IncompatibleKeys
from torch.optim.lr_scheduler import StepLR

from course_utils.lessons.frameworks import start, tiny_run
from course_utils.lessons.frameworks.look import look
from course_utils.resume.rng import RngState
from course_utils.resume.sampler import ResumableSampler

MISSING = [n for n in ("lightning", "accelerate", "transformers") if find_spec(n) is None]
needs_frameworks = pytest.mark.skipif(
    bool(MISSING), reason=f"needs the frameworks extra: {', '.join(MISSING)}"
)

# Framework, way, and what it does: batches alike, images twice, images never, exact.
RUNS = [
    ("lightning", tiny_run.AS_IT_IS, (0, 10, 10, False)),
    ("lightning", tiny_run.REPAIRED, (9, 0, 0, True)),
    ("accelerate", tiny_run.AS_IT_IS, (0, 13, 13, False)),
    ("accelerate", "seedable sampler", (9, 0, 0, False)),
    ("accelerate", tiny_run.REPAIRED, (9, 0, 0, True)),
    ("trainer", tiny_run.AS_IT_IS, (9, 0, 0, True)),
    ("dcp", tiny_run.AS_IT_IS, (0, 24, 0, False)),
    ("dcp", tiny_run.REPAIRED, (9, 0, 0, True)),
]
# What a framework, repaired, calls to put a part back; with one of them gone the run differs.
MODEL = (tiny_run.TinyModel, "load_state_dict")
RANDOM, PLACE = (RngState, "load_state_dict"), (ResumableSampler, "load_state_dict")
SCHEDULE, MOMENTS = (StepLR, "load_state_dict"), (torch.optim.Adam, "load_state_dict")
PARTS = [
    ("lightning", "Module.load_state_dict"),
    *(("lightning", part) for part in (RANDOM, PLACE, SCHEDULE, MOMENTS)),
    *(("accelerate", part) for part in (MODEL, (torch, "set_rng_state"), SCHEDULE, MOMENTS)),
    *(("trainer", part) for part in (MODEL, SCHEDULE, MOMENTS)),
    ("trainer", "Trainer._load_rng_state"),
    ("dcp", "set_state_dict"),
    *(("dcp", part) for part in (RANDOM, PLACE, SCHEDULE)),
]


def ran_alone(request):
    """Run a test in a new process, unless this is it: torch's threads here outlive no fork."""
    if os.environ.get("RUNS_ALONE"):
        return False
    test = f"{request.path}::{request.node.name}"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "-p", "no:cacheprovider", test],
        env=os.environ | start.SETTINGS | {"RUNS_ALONE": "yes"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-5000:]
    return True


def program(framework):
    return importlib.import_module(f"course_utils.lessons.frameworks.with_{framework}")


def way_that_is_exact(framework):
    return tiny_run.AS_IT_IS if framework == "trainer" else tiny_run.REPAIRED


@needs_frameworks
@pytest.mark.parametrize(("framework", "way", "expected"), RUNS)
def test_what_a_framework_does_after_a_kill_in_mid_epoch(
    framework, way, expected, tmp_path, request
):
    if ran_alone(request):
        return
    result = tiny_run.measure(program(framework).train, tmp_path, [way])[way]
    came = (result.batches_alike, result.repeated, result.never_seen, not result.differing)
    assert came == expected
    assert sum(result.times) == tiny_run.IMAGES + (24 if expected[1] == 24 else 0)


@needs_frameworks
@pytest.mark.parametrize(("framework", "part"), PARTS)
def test_without_one_part_the_runs_differ(framework, part, tmp_path, request):
    """A part is dropped where it would be put back; that the whole is exact, RUNS says."""
    if ran_alone(request):
        return
    owner, name = part if isinstance(part, tuple) else (program(framework), part)
    *inner, name = name.split(".")
    for attribute in inner:
        owner = getattr(owner, attribute)
    way = way_that_is_exact(framework)

    def nothing(*_, **__):
        return _IncompatibleKeys([], [])

    with mock.patch.object(owner, name, nothing):
        result = tiny_run.measure(program(framework).train, tmp_path, [way])[way]
    assert result.differing


@needs_frameworks
def test_a_program_of_a_framework_writes_what_the_lesson_opens(tmp_path):
    results = start.measured("dcp", tmp_path)
    assert list(results) == [tiny_run.AS_IT_IS, tiny_run.REPAIRED]
    paths = start.checkpoint_of("dcp", tmp_path / tiny_run.REPAIRED / "straight")
    assert [path.name for path in paths] == [".metadata", "__0_0.distcp"]
    assert "rng" in look(paths[0])[1] or "schedule" in look(paths[0])[1]


def test_a_program_that_fails_says_what_it_printed(tmp_path):
    with pytest.raises(RuntimeError, match="No module named"):
        start.measured("nothing", tmp_path)


def test_an_attempt_that_does_not_end_as_planned_is_an_error(tmp_path):
    def fails(attempt):
        raise ValueError("a mistake in the loop")

    with pytest.raises(RuntimeError, match="ended with status 1"):
        tiny_run.measure(fails, tmp_path, [tiny_run.AS_IT_IS])
