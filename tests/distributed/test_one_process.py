"""What sharded checkpoints do without a process group: the same code, on one rank."""

import copy
import pickle
import shutil
from pathlib import Path

import pytest
import safetensors.torch
import torch
import torch.distributed.checkpoint as dcp
from torch import nn
from torch.distributed.checkpoint.state_dict import set_optimizer_state_dict

from course_utils.distributed import commit
from course_utils.distributed import files as distributed_files
from course_utils.distributed.convert import from_one_file, to_one_file
from course_utils.distributed.folder import continue_from, prune
from course_utils.distributed.sharded import (
    AsyncSaver,
    ShardedRun,
    load_sharded,
    load_sharded_model,
    save_sharded,
)
from course_utils.errors import (
    CheckpointWriteError,
    DamagedCheckpointError,
    MismatchedCheckpointError,
    MissingCheckpointError,
    NotACheckpointError,
    UnsafeCheckpointError,
    UnsupportedCheckpointError,
)
from course_utils.resume import parts
from course_utils.resume.rng import seed_everything
from course_utils.resume.sampler import ResumableSampler

pytestmark = pytest.mark.filterwarnings("ignore:torch.distributed is disabled")


def new_run(seed: int = 0, features: int = 3, steps: int = 0) -> ShardedRun:
    seed_everything(seed)
    model = nn.Sequential(nn.Linear(4, features), nn.BatchNorm1d(features))
    run = ShardedRun(model, torch.optim.Adam(model.parameters()), ResumableSampler(100))
    train(run, steps)
    return run


def train(run: ShardedRun, steps: int) -> None:
    for place in run.sampler.order()[run.sampler.position :][:steps]:
        run.sampler.advance(1)
        run.model(torch.randn(8, 4) + place).square().mean().backward()
        run.optimizer.step()
        run.optimizer.zero_grad()


def everything(run: ShardedRun) -> list[torch.Tensor]:
    state = [*run.model.state_dict().values(), torch.get_rng_state()]
    for moments in run.optimizer.state_dict()["state"].values():
        state += moments.values()
    return [*copy.deepcopy(state), torch.tensor(list(run.sampler.state_dict().values()))]


def same(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
    return len(a) == len(b) and all(map(torch.equal, a, b))


@pytest.mark.parametrize("steps", [0, 1, 5])
def test_a_resumed_run_goes_on_bit_for_bit(tmp_path: Path, steps: int) -> None:
    """Step 0 too: DCP itself would let Adam count one step too many."""
    run = new_run(steps=steps)
    save_sharded(tmp_path, steps, run)
    train(run, 3)
    expected = everything(run)
    again = new_run(seed=7)
    assert load_sharded(tmp_path, again) == steps
    train(again, 3)
    assert same(everything(again), expected)
    assert len(expected) > 10


@pytest.mark.parametrize("steps", [0, 2])
def test_saving_leaves_the_run_alone(tmp_path: Path, steps: int) -> None:
    run, twin = new_run(steps=steps), new_run(steps=steps)
    save_sharded(tmp_path, steps, run)
    seed_everything(1)
    train(run, 2)
    left = everything(run)
    seed_everything(1)
    train(twin, 2)
    assert same(left, everything(twin))


def test_a_background_save_holds_the_state_of_its_moment(tmp_path: Path) -> None:
    run = new_run(steps=2)
    expected = everything(run)
    with AsyncSaver(tmp_path) as saver:
        saver.save(2, run)
        train(run, 5)
    again = new_run(seed=7)
    load_sharded(tmp_path, again)
    assert same(everything(again), expected)


def test_a_background_save_that_failed_is_reported_at_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saver, run = AsyncSaver(tmp_path), new_run(steps=1)

    def full(path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(distributed_files, "measure", full)
    saver.save(1, run)
    with pytest.raises(CheckpointWriteError, match=r"step-00000001.*No space left"):
        saver.save(2, run)
    monkeypatch.undo()
    saver.save(3, run)
    saver.wait()
    assert [commit.step_of(path) for path in commit.committed(tmp_path)] == [3]


def test_a_step_is_never_overwritten(tmp_path: Path) -> None:
    checkpoint = save_sharded(tmp_path, 1, new_run(steps=1))
    before = {path.name: path.read_bytes() for path in checkpoint.iterdir()}
    with pytest.raises(CheckpointWriteError, match="step-00000001: this step is saved already"):
        save_sharded(tmp_path, 1, new_run(steps=2))
    assert {path.name: path.read_bytes() for path in checkpoint.iterdir()} == before


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CheckpointWriteError, match="cannot be made"):
        save_sharded(tmp_path / "file", 1, new_run())


def test_nothing_saved_yet(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(MissingCheckpointError, match="no checkpoint was committed here"):
            load_sharded(folder, new_run())
    with pytest.raises(MissingCheckpointError, match="step-00000005"):
        load_sharded(tmp_path, new_run(), step=5)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGE = {"is missing": Path.unlink, "bytes, not": truncate, "its checksum is": flip_a_bit}


@pytest.mark.parametrize("name", ["__0_0.distcp", ".metadata"])
@pytest.mark.parametrize("words", DAMAGE)
def test_damage_is_named_and_nothing_is_loaded(tmp_path: Path, name: str, words: str) -> None:
    path = save_sharded(tmp_path, 1, new_run(steps=1)) / name
    DAMAGE[words](path)
    run = new_run(seed=7, steps=2)
    before = everything(run)
    with pytest.raises(DamagedCheckpointError, match=f"step-00000001/{name}.*{words}"):
        load_sharded(tmp_path, run)
    with pytest.raises(DamagedCheckpointError, match=f"step-00000001/{name}.*{words}"):
        load_sharded_model(tmp_path, run.model)
    with pytest.raises(DamagedCheckpointError, match=f"step-00000001/{name}.*{words}"):
        to_one_file(tmp_path, tmp_path / "one.pt")
    assert same(everything(run), before)
    assert not (tmp_path / "one.pt").exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b'{"files": {"a": {"bytes": 1}}}',
        b'{"files": {"../../secret": {"bytes": 1, "crc32": 1}}}',
        b'{"files": {"/etc/passwd": {"bytes": 1, "crc32": 1}}}',
        b'{"files": {"..": {"bytes": 1, "crc32": 1}}}',
    ],
)
def test_a_damaged_record_is_named(tmp_path: Path, content: bytes) -> None:
    checkpoint = save_sharded(tmp_path, 1, new_run())
    (checkpoint / commit.RECORD).write_bytes(content)
    with pytest.raises(DamagedCheckpointError, match=r"commit\.json: the commit record is damaged"):
        load_sharded(tmp_path, new_run())


def test_the_newest_whole_checkpoint_wins(tmp_path: Path) -> None:
    run, older = new_run(steps=1), {}
    for step in (1, 2, 100_000_000):
        train(run, 1)
        save_sharded(tmp_path, step, run)
        older[step] = everything(run)
    flip_a_bit(tmp_path / "step-100000000" / "__0_0.distcp")
    again = new_run(seed=7)
    with pytest.warns(UserWarning, match="skipped: .*step-100000000/__0_0.distcp is damaged"):
        assert load_sharded(tmp_path, again) == 2
    assert same(everything(again), older[2])
    with pytest.raises(DamagedCheckpointError):
        load_sharded(tmp_path, again, step=100_000_000)
    assert load_sharded(tmp_path, again, step=1) == 1
    assert same(everything(again), older[1])


def test_a_folder_without_record_does_not_count(tmp_path: Path) -> None:
    save_sharded(tmp_path, 1, new_run(steps=1))
    (save_sharded(tmp_path, 2, new_run(steps=2)) / commit.RECORD).unlink()
    assert load_sharded(tmp_path, new_run()) == 1


def test_what_a_save_that_never_ended_left_is_removed(tmp_path: Path) -> None:
    left = commit.step_folder(tmp_path, 1) / "__7_0.distcp"  # of a rank that is no more
    left.parent.mkdir()
    left.write_text("half a tensor")
    save_sharded(tmp_path, 1, new_run())
    assert not left.exists()


def test_another_model_is_refused(tmp_path: Path) -> None:
    save_sharded(tmp_path, 1, new_run(steps=1))
    smaller, run = nn.Sequential(nn.Linear(4, 3)), new_run(features=5, steps=1)
    before = everything(run)
    for load in (load_sharded, lambda folder, run: load_sharded_model(folder, run.model)):
        with pytest.raises(
            MismatchedCheckpointError, match=r"0\.bias is \(3,\) in the file, \(5,\)"
        ):
            load(tmp_path, run)
    with pytest.raises(MismatchedCheckpointError, match=r"1\.weight is \(3,\) .*missing here"):
        load_sharded_model(tmp_path, smaller)
    assert same(everything(run), before)
    larger = nn.Sequential(*new_run().model, nn.Linear(3, 3))
    with pytest.raises(MismatchedCheckpointError, match=r"2\.bias is missing in the file, \(3,\)"):
        load_sharded_model(tmp_path, larger)


OPTIMIZERS = {
    "Adam": lambda weights: torch.optim.Adam(weights),
    "SGD": lambda weights: torch.optim.SGD(weights, 0.1),
    "momentum": lambda weights: torch.optim.SGD(weights, 0.1, momentum=0.9),
}


@pytest.mark.parametrize(
    ("saved", "here"),
    [("Adam", "SGD"), ("Adam", "momentum"), ("SGD", "Adam"), ("momentum", "Adam")],
)
def test_another_optimizer_is_refused(tmp_path: Path, saved: str, here: str) -> None:
    runs = [new_run(), new_run()]
    for run, kind in zip(runs, (saved, here), strict=True):
        run.optimizer = OPTIMIZERS[kind](run.model.parameters())
        train(run, 2)
    save_sharded(tmp_path, 2, runs[0])
    before = everything(runs[1])
    with pytest.raises(MismatchedCheckpointError, match="optimizer"):
        load_sharded(tmp_path, runs[1])
    assert same(everything(runs[1]), before)


def test_only_the_model(tmp_path: Path) -> None:
    run = new_run(steps=2)
    save_sharded(tmp_path, 2, run)
    model = new_run(seed=7).model
    assert load_sharded_model(tmp_path, model) == 2
    assert same([*model.state_dict().values()], [*run.model.state_dict().values()])


def test_plain_dcp_reads_our_files(tmp_path: Path) -> None:
    run = new_run(steps=1)
    checkpoint = save_sharded(tmp_path, 1, run)
    state = {"model": {name: torch.zeros_like(v) for name, v in run.model.state_dict().items()}}
    dcp.load(state, checkpoint_id=checkpoint)
    assert same([*state["model"].values()], [*run.model.state_dict().values()])


class Touch:
    """A harmless payload: unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


class Hostile(ResumableSampler):
    """Its state makes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        super().__init__(100)
        self.marker = marker

    def state_dict(self):
        return super().state_dict() | {"seed": Touch(self.marker)}

    def check(self, state):
        return []


def recommit(checkpoint: Path) -> None:
    """Make the record agree with the files, as an attacker would."""
    names = [path.name for path in checkpoint.iterdir() if path.name != commit.RECORD]
    commit.commit(checkpoint, {name: commit.measure(checkpoint / name) for name in names})


def test_a_hostile_index_is_not_run(tmp_path: Path) -> None:
    checkpoint, marker = save_sharded(tmp_path, 1, new_run()), tmp_path / "marker"
    payload = pickle.dumps(Touch(marker))
    pickle.loads(payload)
    assert marker.exists()
    marker.unlink()
    (checkpoint / ".metadata").write_bytes(payload)
    recommit(checkpoint)
    with pytest.raises(UnsafeCheckpointError, match=r"\.metadata: .* would import pathlib.*Path"):
        load_sharded(tmp_path, new_run())
    assert not marker.exists()


def test_a_hostile_value_is_not_run_and_nothing_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = new_run(steps=1)
    run.sampler = Hostile(tmp_path / "marker")
    with pytest.raises(CheckpointWriteError, match=r"sampler\.seed is a .*Touch"):
        save_sharded(tmp_path, 1, run)
    monkeypatch.setattr(parts, "plain", lambda value, *_: value)  # an attacker does not ask
    save_sharded(tmp_path, 1, run)
    victim = new_run(seed=7, steps=2)
    before = everything(victim)
    with pytest.raises(UnsafeCheckpointError, match=r"step-00000001.*: sampler\.seed"):
        load_sharded(tmp_path, victim)
    assert not (tmp_path / "marker").exists()
    assert same(everything(victim), before)


def test_before_2_10_only_values_that_our_audit_calls_plain_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CVE-2026-24747: the safe loader of earlier versions can be made to run code."""
    run = new_run(steps=1)
    save_sharded(tmp_path / "plain", 1, run)
    run.sampler = Hostile(tmp_path / "marker")
    monkeypatch.setattr(parts, "plain", lambda value, *_: value)  # an attacker does not ask
    save_sharded(tmp_path / "hostile", 1, run)
    monkeypatch.setattr(torch, "__version__", "2.9.1")
    for load in (load_sharded, lambda folder, run: load_sharded_model(folder, run.model)):
        with pytest.raises(UnsafeCheckpointError, match=r"distcp: sampler\.seed: refused.*CVE"):
            load(tmp_path / "hostile", new_run())
    again = new_run(seed=7)
    load_sharded(tmp_path / "plain", again)
    assert same([*again.model.state_dict().values()], [*run.model.state_dict().values()])


@pytest.mark.parametrize("index", [pickle.dumps({"not": "an index"}), b"\\x80\\x04nonsense"])
def test_an_index_that_is_none(tmp_path: Path, index: bytes) -> None:
    checkpoint = save_sharded(tmp_path, 1, new_run())
    (checkpoint / ".metadata").write_bytes(index)
    recommit(checkpoint)
    with pytest.raises(DamagedCheckpointError, match=r"\.metadata"):
        load_sharded(tmp_path, new_run())


def test_an_index_that_points_outside_is_refused(tmp_path: Path) -> None:
    checkpoint = save_sharded(tmp_path, 1, new_run())
    shutil.move(checkpoint / "__0_0.distcp", tmp_path / "elsewhere")
    (checkpoint / ".metadata").write_bytes(
        (checkpoint / ".metadata").read_bytes().replace(b"\x0c__0_0.distcp", b"\x0c../elsewhere")
    )
    recommit(checkpoint)
    with pytest.raises(DamagedCheckpointError, match=r"not committed with it: .*elsewhere"):
        load_sharded(tmp_path, new_run())


def test_one_file_and_back(tmp_path: Path) -> None:
    run = new_run(steps=3)
    save_sharded(tmp_path / "a", 3, run)
    expected = everything(run)
    to_one_file(tmp_path / "a", tmp_path / "one.pt")
    from_one_file(tmp_path / "one.pt", tmp_path / "b", 3)
    again = new_run(seed=7)
    load_sharded(tmp_path / "b", again)
    assert same(everything(again), expected)


def test_one_file_loads_without_us(tmp_path: Path) -> None:
    run, again = new_run(steps=3), new_run(seed=7)
    save_sharded(tmp_path, 3, run)
    to_one_file(tmp_path, tmp_path / "one.pt")
    state = torch.load(tmp_path / "one.pt")
    again.model.load_state_dict(state["model"])
    set_optimizer_state_dict(again.model, again.optimizer, state["optimizer"])
    again.sampler.load_state_dict(state["sampler"])
    assert same(everything(again)[:-2], everything(run)[:-2])


def test_safetensors_and_back(tmp_path: Path) -> None:
    run = new_run(steps=3)
    save_sharded(tmp_path / "a", 3, run)
    to_one_file(tmp_path / "a", tmp_path / "model.safetensors")
    tensors = safetensors.torch.load_file(tmp_path / "model.safetensors")
    assert tensors.keys() == run.model.state_dict().keys()
    from_one_file(tmp_path / "model.safetensors", tmp_path / "b", 3)
    model = new_run(seed=7).model
    load_sharded_model(tmp_path / "b", model)
    assert same([*model.state_dict().values()], [*run.model.state_dict().values()])
    with pytest.raises(MismatchedCheckpointError, match="optimizer is not in"):
        load_sharded(tmp_path / "b", new_run())


def test_a_plain_state_dict_can_be_spread(tmp_path: Path) -> None:
    model = new_run(steps=1).model
    torch.save(model.state_dict(), tmp_path / "model.pt")
    from_one_file(tmp_path / "model.pt", tmp_path, 0)
    again = new_run(seed=7).model
    load_sharded_model(tmp_path, again)
    assert same([*again.state_dict().values()], [*model.state_dict().values()])


def test_an_optimizer_by_position_is_refused(tmp_path: Path) -> None:
    run = new_run(steps=1)
    state = {"model": run.model.state_dict(), "optimizer": run.optimizer.state_dict()}
    torch.save(state, tmp_path / "one.pt")
    with pytest.raises(MismatchedCheckpointError, match="by position"):
        from_one_file(tmp_path / "one.pt", tmp_path, 1)
    assert not commit.step_folder(tmp_path, 1).exists()


def test_a_damaged_safetensors_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    safetensors.torch.save_file({"w": torch.ones(2)}, path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(DamagedCheckpointError, match=r"model\.safetensors"):
        from_one_file(path, tmp_path, 1)
    path.write_bytes(b"not one")
    with pytest.raises(NotACheckpointError, match=r"model\.safetensors"):
        from_one_file(path, tmp_path, 1)
    path.write_bytes(whole.replace(b'"F32"', b'"F99"'))  # of a kind to come: no damage
    with pytest.raises(UnsupportedCheckpointError, match="F99"):
        from_one_file(path, tmp_path, 1)


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ([1, 2], "holds a list, not a state"),
        (torch.ones(2), "holds a Tensor, not a state"),
        ({"model": {}, "optimizer": [{"state": {0: {"step": 1}}}]}, "by position"),
    ],
)
def test_a_file_that_holds_something_else_is_refused(
    tmp_path: Path, state: object, words: str
) -> None:
    torch.save(state, tmp_path / "a.pt")
    with pytest.raises(MismatchedCheckpointError, match=words):
        from_one_file(tmp_path / "a.pt", tmp_path / "b", 1)


def test_prune_keeps_the_newest_and_what_may_be_under_way(tmp_path: Path) -> None:
    for step in (1, 2, 3, 4):
        save_sharded(tmp_path, step, new_run())
    for step in (1, 5):
        (tmp_path / f"step-{step:08d}" / commit.RECORD).unlink(missing_ok=True)
        commit.step_folder(tmp_path, step).mkdir(exist_ok=True)
    (tmp_path / "step-notes.txt").write_text("not a checkpoint")
    prune(tmp_path, keep_last=2)
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ["step-00000003", "step-00000004", "step-00000005", "step-notes.txt"]
    with pytest.raises(ValueError, match="1 or more"):
        prune(tmp_path, keep_last=0)


def test_a_folder_that_holds_later_steps_is_another_runs(tmp_path: Path) -> None:
    for step in (100, 200, 300):
        save_sharded(tmp_path, step, new_run(step))
    with pytest.raises(CheckpointWriteError, match=r"150 was not saved.*step 300.*continue_from"):
        save_sharded(tmp_path, 150, new_run())
    assert not commit.step_folder(tmp_path, 150).exists()
    continue_from(tmp_path, 100)
    save_sharded(tmp_path, 150, new_run(7))
    prune(tmp_path, keep_last=1)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["abandoned", "step-00000150"]
    again = new_run()
    load_sharded(tmp_path, again)
    assert same(everything(again), everything(new_run(7)))
    continue_from(tmp_path, 150)  # nothing is later
    moved = tmp_path / "abandoned"
    assert sorted(p.name for p in moved.iterdir()) == ["step-00000200", "step-00000300"]
    assert all(commit.is_committed(path) for path in moved.iterdir())


def test_a_step_that_was_never_committed_is_none_to_continue_from(tmp_path: Path) -> None:
    save_sharded(tmp_path, 2, new_run())
    commit.step_folder(tmp_path, 1).mkdir()
    for step in (1, 3):
        with pytest.raises(MissingCheckpointError, match=f"of step {step} to continue from"):
            continue_from(tmp_path, step)
    assert commit.committed(tmp_path) == [commit.step_folder(tmp_path, 2)]


def test_a_later_save_that_never_ended_is_moved_too_or_it_is_said_why_not(tmp_path: Path) -> None:
    save_sharded(tmp_path, 1, new_run())
    commit.step_folder(tmp_path, 2).mkdir()
    (tmp_path / "abandoned").write_text("in the way")
    with pytest.raises(CheckpointWriteError, match="later checkpoints cannot be moved"):
        continue_from(tmp_path, 1)
    (tmp_path / "abandoned").unlink()
    continue_from(tmp_path, 1)
    assert (tmp_path / "abandoned" / "step-00000002").is_dir()
    assert not commit.step_folder(tmp_path, 2).exists()
