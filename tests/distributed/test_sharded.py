"""Sharded checkpoints: saved by some ranks, loaded by others, killed, damaged, converted.

Starting a launch takes seconds, so its results are shared by the tests of this module.
"""

import os
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from course_utils.distributed import commit
from course_utils.distributed.convert import to_one_file
from course_utils.distributed.launch import Launch, launch
from course_utils.distributed.sharded import ShardedRun, load_sharded, save_sharded
from course_utils.lessons.models import MLP
from course_utils.resume.sampler import ResumableSampler

pytestmark = pytest.mark.filterwarnings("ignore:torch.distributed is disabled")
HERE = Path(__file__).parent


# PyTorch 2.6 asks the CPU for streams that can note events, which its CPU has not.
NO_FSDP2 = "fully_shard of this PyTorch cannot train on a CPU"


def run_ranks(ranks: int, folder: Path, *work: str) -> Launch:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")]))
        done = launch("distributed_program", folder, *work, ranks=ranks)
    assert done.status == 0, "\n".join([str(done), *done.log])
    return done


def one_file(folder: Path, step: int) -> dict:
    path = folder / f"step-{step}.pt"
    to_one_file(folder, path, step)
    return torch.load(path)


def flatten(value: object, name: str = "") -> dict[str, object]:
    if isinstance(value, dict):
        return {
            k: v for key, sub in value.items() for k, v in flatten(sub, f"{name}.{key}").items()
        }
    if isinstance(value, list | tuple) and not all(isinstance(v, int | str) for v in value):
        return flatten(dict(enumerate(value)), name)
    return {name: value}


def assert_identical(a: object, b: object) -> None:
    """Bit for bit, and of the same types."""
    left, right = flatten(a), flatten(b)
    assert left.keys() == right.keys()
    for name, value in left.items():
        other = right[name]
        assert type(value) is type(other), name
        if isinstance(value, torch.Tensor):
            assert value.dtype == other.dtype, name
            assert torch.equal(value, other), name
        else:
            assert value == other, name


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs of 12 steps by two ranks, saved at 4, 8 and 12: with dropout, and without."""
    if not hasattr(torch.cpu.Stream(), "record_event"):
        pytest.skip(NO_FSDP2)
    folder = tmp_path_factory.mktemp("straight")
    run_ranks(2, folder, "straight", "full_straight")
    return folder


def new_run() -> ShardedRun:
    """The worker's run, whole, in this process."""
    model = MLP()
    return ShardedRun(model, torch.optim.Adam(model.parameters(), 1e-3), ResumableSampler(1437))


def resumed(straight: Path, ranks: int, folder: Path) -> Path:
    """Both runs, continued from step 8 by so many ranks."""
    for kind in ("dropout", "plain"):
        for step in (4, 8):
            name = commit.step_folder(Path(kind), step)
            shutil.copytree(straight / name, folder / name)
    name = commit.step_folder(Path("full"), 3)  # in the middle of an accumulation
    shutil.copytree(straight / name, folder / name)
    run_ranks(ranks, folder, "resume", "full_resume")
    return folder


@pytest.fixture(scope="module")
def by_two(straight: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return resumed(straight, 2, tmp_path_factory.mktemp("by_two"))


@pytest.fixture(scope="module", params=[1, 3, 4])
def by_others(
    straight: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Path:
    return resumed(straight, request.param, tmp_path_factory.mktemp(f"by_{request.param}"))


@pytest.mark.parametrize("kind", ["dropout", "plain"])
def test_as_many_ranks_continue_bit_for_bit(straight: Path, by_two: Path, kind: str) -> None:
    never_stopped, continued = one_file(straight / kind, 12), one_file(by_two / kind, 12)
    assert_identical(continued, never_stopped)
    assert not torch.equal(
        never_stopped["model"]["head.weight"],
        one_file(straight / kind, 8)["model"]["head.weight"],
    )


def test_each_rank_draws_its_own_random_numbers(straight: Path) -> None:
    random = one_file(straight / "dropout", 12)["rng"]
    assert list(random) == ["0", "1"]
    assert not torch.equal(random["0"]["torch"], random["1"]["torch"])


def test_other_numbers_of_ranks_load_what_two_saved_bit_for_bit(
    straight: Path, by_others: Path
) -> None:
    saved, loaded = one_file(straight / "plain", 8), torch.load(by_others / "loaded.pt")
    for part in ("model", "optimizer", "sampler"):
        assert_identical(loaded[part], saved[part])


def test_random_numbers_go_on_where_the_rank_existed(straight: Path, by_others: Path) -> None:
    saved = one_file(straight / "plain", 8)["rng"]
    loaded = torch.load(by_others / "loaded.pt")["random"]
    for number, state in enumerate(loaded):
        if number < 2:
            assert torch.equal(state, saved[str(number)]["torch"])
        else:
            assert not any(torch.equal(state, other) for other in loaded[:number])


def test_other_numbers_of_ranks_continue_closely(straight: Path, by_others: Path) -> None:
    """The batches are the same images, summed in another order.

    A float32 sum then changes in its last bits, by about 1e-7 of its size. Adam divides by the
    gradient's size, so a weight moves by at most about the learning rate, 1e-3, a step, and by
    1e-7 of that more or less: 1.5e-8 was measured after four steps. Where a gradient is near 0
    the share is larger, hence the margin; the steps themselves are a hundred times larger still.
    """
    never_stopped = one_file(straight / "plain", 12)
    continued, before = one_file(by_others / "plain", 12), one_file(straight / "plain", 8)
    assert continued["sampler"] == never_stopped["sampler"]
    for name, weights in never_stopped["model"].items():
        torch.testing.assert_close(continued["model"][name], weights, rtol=0, atol=1e-5)
        assert (weights - before["model"][name]).abs().max() > 1e-3


PARTS = {"model", "ema", "optimizer", "gradients", "scheduler", "scaler", "sampler", "tokens"}


def test_a_run_with_all_parts_is_continued_by_as_many_ranks(straight: Path, by_two: Path) -> None:
    """Stopped in the middle of an accumulation; a part of it never had a gradient."""
    assert one_file(straight / "full", 3).keys() > PARTS
    never_stopped = one_file(straight / "full", 9)
    assert_identical(one_file(by_two / "full", 9), never_stopped)
    assert "unused.weight" not in never_stopped["optimizer"]["state"]


def test_other_numbers_of_ranks_load_all_parts_bit_for_bit(straight: Path, by_others: Path) -> None:
    saved, loaded = one_file(straight / "full", 3), one_file(by_others / "full_again", 3)
    for part in PARTS:
        assert_identical(loaded[part], saved[part])


@pytest.fixture(scope="module")
def failures(tmp_path_factory: pytest.TempPathFactory) -> Launch:
    """What two ranks say to several mishaps."""
    return run_ranks(2, tmp_path_factory.mktemp("failures") / "run", "fail", "disagree")


@pytest.mark.parametrize(
    ("mishap", "words"),
    [
        ("again", "CheckpointWriteError: .*step-00000001: this step is saved already"),
        ("full", "CheckpointWriteError: .*step-00000002: rank 1: .*No space left on device"),
        ("full later", "CheckpointWriteError: .*step-00000003: rank 1: .*No space left on device"),
        ("damaged", r"DamagedCheckpointError: .*step-00000001/__1_0\.distcp has .* bytes, not"),
        ("other model", r"MismatchedCheckpointError: .*features\.1\.weight is \(16, 64\) in the "
         r"file, \(32, 64\) here"),
    ],
)  # fmt: skip
def test_all_ranks_report_what_went_wrong_on_one(failures: Launch, mishap: str, words: str) -> None:
    for lines in failures.output.values():
        said = [line for line in lines if line.startswith(f"{mishap}: ")]
        assert len(said) == 1, lines
        assert re.match(f"{mishap}: {words}", said[0]), said


def test_a_save_that_failed_on_one_rank_is_not_committed(failures: Launch) -> None:
    assert "[1, 4]" in failures.output[0]


def test_buffers_that_differ_between_ranks_are_named(failures: Launch) -> None:
    warned = [line for line in failures.output[0] if line.startswith("warned")]
    assert "ranks disagree on running_mean, running_var;" in warned[0]


@pytest.fixture(scope="module")
def after_a_death(straight: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose second rank was killed while both saved step 8, with a good step 4."""
    folder = tmp_path_factory.mktemp("death")
    shutil.copytree(straight / "plain" / "step-00000004", folder / "step-00000004")
    done = launch("course_utils.lessons.worker", folder, "--steps=12", "--kill-in-save=8", ranks=2)
    assert done.status != 0
    assert "continues from step 4" in done.output[0]
    assert done.output[1][-1] == "killed after writing __1_0.distcp"
    assert not any("done" in line for line in done.output[0])
    return folder


def test_a_rank_that_dies_in_a_save_leaves_the_former_checkpoint(
    straight: Path, after_a_death: Path
) -> None:
    assert (after_a_death / "step-00000008" / "__1_0.distcp").is_file()
    assert [path.name for path in commit.committed(after_a_death)] == ["step-00000004"]
    assert_identical(one_file(after_a_death, 4), one_file(straight / "plain", 4))
    run = new_run()
    assert load_sharded(after_a_death, run) == 4


def test_the_step_that_failed_can_be_saved_again(after_a_death: Path) -> None:
    run = new_run()
    load_sharded(after_a_death, run)
    save_sharded(after_a_death, 8, run)
    assert load_sharded(after_a_death, new_run()) == 8


def kill_often(folder: Path, trials: int, seed: int) -> None:
    command = [sys.executable, HERE / "kill_program.py", folder, str(trials), str(seed)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_kills_at_random_moments_lose_nothing_that_was_announced(tmp_path: Path) -> None:
    kill_often(tmp_path / "run", trials=20, seed=0)


@pytest.mark.torture
@pytest.mark.parametrize("seed", range(1, 6))
def test_many_kills_at_random_moments(tmp_path: Path, seed: int) -> None:
    kill_often(tmp_path / "run", trials=200, seed=seed)


@pytest.mark.torture
@pytest.mark.parametrize("seed", range(10))
def test_a_rank_killed_at_a_random_moment_costs_no_bit(
    straight: Path, tmp_path: Path, seed: int
) -> None:
    folder = tmp_path / "dropout"
    shutil.copytree(straight / "dropout" / "step-00000004", folder / "step-00000004")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")]))
        patch.setenv("KILL_AFTER", str(random.Random(seed).uniform(0, 0.2)))
        launch("distributed_program", tmp_path, "killed", ranks=2)
    run_ranks(2, tmp_path, "go_on")
    assert_identical(one_file(folder, 12), one_file(straight / "dropout", 12))


def assert_a_kill_costs_nothing(straight: Path, folder: Path, seed: int) -> None:
    """Two ranks save, one dies; one, three and four load what there is, two go on."""
    moment = random.Random(seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")]))
        patch.setenv("KILL_FROM", str(moment.randint(3, 8)))  # micro-batches, of 9
        patch.setenv("KILL_AFTER", str(moment.uniform(0, 0.3)))  # seconds more
        done = launch("distributed_program", folder, "full_killed", ranks=2)
    assert done.status != 0
    newest = commit.step_of(commit.committed(folder / "full")[-1])
    saved = one_file(folder / "full", newest)
    assert_identical(saved, one_file(straight / "full", newest))
    for ranks in (1, 3, 4):
        run_ranks(ranks, folder, "full_load")
        loaded = one_file(folder / f"by_{ranks}", newest)
        assert loaded.keys() == saved.keys()
        for part in PARTS & saved.keys():
            assert_identical(loaded[part], saved[part])
    run_ranks(2, folder, "full_go_on")
    assert_identical(one_file(folder / "full", 9), one_file(straight / "full", 9))


def test_a_kill_at_a_random_moment_costs_no_bit_of_any_part(straight: Path, tmp_path: Path) -> None:
    assert_a_kill_costs_nothing(straight, tmp_path, seed=0)


@pytest.mark.torture
@pytest.mark.parametrize("seed", range(1, 10))
def test_nor_do_kills_at_other_moments(straight: Path, tmp_path: Path, seed: int) -> None:
    assert_a_kill_costs_nothing(straight, tmp_path, seed)
