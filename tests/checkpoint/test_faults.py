"""Kills, full and failing disks, truncation, flipped bits: nothing is lost, all is noticed."""

import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from course_utils.checkpoint import CheckpointManager, load_checkpoint, save_checkpoint
from course_utils.errors import CheckpointError, CheckpointWriteError, DamagedCheckpointError
from course_utils.files.durable import write_atomically
from course_utils.resume.compare import differences

HERE = Path(__file__).parent
KILLS = int(os.environ.get("KILLS", "2000"))  # of `make torture KILLS=200`
PHASES = ["before the write", "in it", "between fsync and rename", "after", "while pruning"]


def run(*command, **options):
    environment = {**os.environ, "PYTHONPATH": str(HERE.parents[1])}
    done = subprocess.run(
        list(map(str, command)), env=environment, capture_output=True, text=True, **options
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# Kills


@pytest.mark.parametrize(
    "kills", [60, pytest.param(KILLS, marks=pytest.mark.torture)], ids=lambda n: f"{n} kills"
)
def test_a_kill_at_any_moment_leaves_the_old_or_the_new_state(tmp_path, kills, capfd):
    tally = json.loads(run(sys.executable, HERE / "kill_saves.py", tmp_path, kills, 0))
    assert tally["old"] + tally["new"] == kills
    for phase in PHASES:
        assert tally[phase] >= kills // 20, f"hardly a kill hit {phase}: {tally}"
    with capfd.disabled():
        print(f"\n{kills} kills: {tally}")


# Disks that fail


@pytest.fixture
def folder(tmp_path):
    save_checkpoint(tmp_path / "model.pt", {"weight": torch.zeros(10)})
    return tmp_path


def assert_old_file_stands(folder):
    assert torch.equal(load_checkpoint(folder / "model.pt")["weight"], torch.zeros(10))
    assert os.listdir(folder) == ["model.pt"]


def test_a_full_disk(tmp_path):
    tmp_path = tmp_path / "disk"
    tmp_path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(tmp_path)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small tmpfs needs root")
    try:
        save_checkpoint(tmp_path / "model.pt", {"weight": torch.zeros(10)})
        with pytest.raises(CheckpointWriteError, match=r"full: 400,\d+ bytes needed, [\d,]+ bytes"):
            save_checkpoint(tmp_path / "model.pt", {"weight": torch.ones(100_000)})
        assert_old_file_stands(tmp_path)
    finally:
        subprocess.run(["umount", "--lazy", str(tmp_path)], check=True)


@pytest.mark.parametrize("limit", [1000, 400_500])
def test_a_file_size_limit(folder, limit):
    message = run(sys.executable, HERE / "fault_save.py", folder, "--limit", limit)
    assert "untouched" in message
    assert "larger" in message
    assert_old_file_stands(folder)


FAULTS = [
    ("pwrite64:error=EIO:when=3", "input/output"),
    ("pwrite64:error=ENOSPC:when=1", "full"),
    ("pwrite64:error=EDQUOT:when=2", "quota"),
    ("fsync:error=EIO:when=1", "input/output"),
    ("fsync:error=ENOSPC:when=1", "full"),
    ("rename:error=EROFS:when=1", "read-only"),
    ("ftruncate:error=EIO:when=1", "input/output"),
]
needs_strace = pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")


def save_under_strace(folder, fault):
    trace = ["strace", "-f", "--seccomp-bpf", "-qq", "-e", "trace=" + fault.partition(":")[0]]
    return run(
        *trace, "-e", f"inject={fault}", "-o", "/dev/null",
        sys.executable, HERE / "fault_save.py", folder,
    )  # fmt: skip


@needs_strace
@pytest.mark.parametrize(("fault", "words"), [FAULTS[0], FAULTS[3]])
def test_a_failing_disk(folder, fault, words):
    message = save_under_strace(folder, fault)
    assert "untouched" in message
    assert words in message
    assert_old_file_stands(folder)


@needs_strace
@pytest.mark.torture
@pytest.mark.parametrize(("fault", "words"), FAULTS)
def test_a_disk_failing_in_other_ways(folder, fault, words):
    test_a_failing_disk(folder, fault, words)


@needs_strace
@pytest.mark.parametrize(
    "fault",
    [
        "pwrite64:error=EINTR:when=1..3",
        pytest.param("fsync:error=EINTR:when=1..2", marks=pytest.mark.torture),
    ],
)
def test_interrupted_calls_are_repeated(folder, fault):
    assert save_under_strace(folder, fault) == ""
    assert load_checkpoint(folder / "model.pt")["weight"].eq(1).all()


@needs_strace
@pytest.mark.torture
def test_a_folder_that_cannot_be_flushed(folder):
    assert "in place and whole" in save_under_strace(folder, "fsync:error=EIO:when=2")
    assert load_checkpoint(folder / "model.pt")["weight"].eq(1).all()


def test_a_read_only_folder():
    """As nobody: root may write everywhere."""
    folder = Path(tempfile.mkdtemp())
    try:
        save_checkpoint(folder / "model.pt", {"weight": torch.zeros(10)})
        (folder / "model.pt").chmod(0o666)
        folder.chmod(0o555)
        user = os.geteuid()
        if user == 0:
            os.seteuid(65534)
        try:
            with pytest.raises(CheckpointWriteError, match="permission"):
                save_checkpoint(folder / "model.pt", {"weight": torch.ones(10)})
            assert_old_file_stands(folder)
        finally:
            os.seteuid(user)
    finally:
        folder.chmod(0o755)
        shutil.rmtree(folder)


def test_a_folder_removed_in_the_middle_of_a_save(folder):
    def write(file):
        file.write(b"half")
        shutil.rmtree(folder)

    with pytest.raises(CheckpointWriteError, match=f"no folder {folder}"):
        write_atomically(folder / "model.pt", write)
    assert not folder.exists()


def test_a_clock_that_runs_backwards(tmp_path):
    manager = CheckpointManager(tmp_path, keep_last=2)
    for step in range(5):
        path = manager.save({"step": step}, step)
        os.utime(path, (2e9 - step, 2e9 - step))
    assert manager.restore() == {"step": 4}
    assert [path.name for path in sorted(tmp_path.iterdir())] == [
        "step-00000003.pt",
        "step-00000004.pt",
    ]


# Files that change


def by_us(path, state):
    save_checkpoint(path, state)


def by_torch(path, state):
    torch.save(state, path)


@pytest.mark.parametrize(("save", "stride"), [(by_us, 1), (by_torch, 3)])
def test_a_flipped_bit_in_any_byte_is_noticed(tmp_path, save, stride):
    """Data, pickle, headers, padding, descriptors, directory: no byte is without a check."""
    path = tmp_path / "model.pt"
    save(path, {"a": torch.arange(7), "empty": torch.empty(0), "b": torch.ones(30)})
    content = bytearray(path.read_bytes())
    load_checkpoint(path)
    for position in range(0, len(content), stride):
        content[position] ^= 1 << position % 8
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"model\.pt"):
            load_checkpoint(path)
        content[position] ^= 1 << position % 8


@pytest.mark.parametrize("save", [by_us, by_torch])
def test_truncation_is_noticed(tmp_path, save):
    path = tmp_path / "model.pt"
    save(path, {f"layer.{n}": torch.ones(10_000) for n in range(10)})
    content = path.read_bytes()
    for length in [*range(4096, len(content), 4096), len(content) - 1]:
        path.write_bytes(content[:length])
        with pytest.raises(DamagedCheckpointError, match=r"model\.pt"):
            load_checkpoint(path)


@pytest.mark.parametrize("block", [512, 4096])
def test_a_block_of_zeros_is_noticed(tmp_path, block):
    """What a power cut leaves where the rename reached the disk before the data."""
    path = tmp_path / "model.pt"
    save_checkpoint(path, {f"layer.{n}": torch.ones(3000) for n in range(3)})
    content = path.read_bytes()
    for start in range(0, len(content), block):
        path.write_bytes(content[:start] + bytes(block) + content[start + block :])
        with pytest.raises(CheckpointError, match=r"model\.pt"):
            load_checkpoint(path)


# Round trips

DTYPES = [
    torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.complex64,
    torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool,
    torch.float8_e4m3fn, torch.uint16,
]  # fmt: skip


@st.composite
def tensors(draw):
    """A tensor, and views of it: slices, transposes, steps, single elements, nothing."""
    dtype = draw(st.sampled_from(DTYPES))
    shape = draw(st.lists(st.integers(0, 5), max_size=3))
    size = torch.Size(shape).numel() * dtype.itemsize
    data = bytearray(draw(st.binary(min_size=size, max_size=size)))
    if dtype == torch.bool:
        data = bytearray(value & 1 for value in data)
    memory = (
        torch.frombuffer(data, dtype=torch.uint8) if size else torch.empty(0, dtype=torch.uint8)
    )
    base = memory.clone().view(dtype).reshape(shape)
    views = [base]
    for kind in draw(st.lists(st.sampled_from(["T", "slice", "step", "same", "flat"]), max_size=3)):
        last = views[-1]
        if kind == "T" and last.dim() > 1:
            views.append(last.transpose(0, -1))
        elif kind == "slice" and last.dim():
            views.append(last[1:])
        elif kind == "step" and last.dim():
            views.append(last[..., ::2])
        elif kind == "same":
            views.append(last)
        else:
            views.append(base.flatten()[:1])
    return views


plain = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(allow_nan=False), st.text()
)
states = st.recursive(
    st.one_of(plain, tensors()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.one_of(st.text(max_size=5), st.integers(0, 9)), inner, max_size=3),
        st.tuples(inner, inner),
    ),
    max_leaves=6,
)


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(state=states)
def test_round_trips_with_torch(tmp_path, state):
    path = tmp_path / "model.pt"
    save_checkpoint(path, state)
    assert_same(torch.load(path, weights_only=True), state)
    torch.save(state, path)
    assert_same(load_checkpoint(path), state)
    buffer = io.BytesIO()
    torch.save(state, buffer)
    path.write_bytes(buffer.getvalue())
    assert_same(load_checkpoint(path, mmap=True), state)


def assert_same(loaded, state):
    assert not differences(loaded, state)
    ours, theirs = list(all_tensors(loaded)), list(all_tensors(state))
    for a, b in zip(ours, theirs, strict=True):
        assert (a.stride(), a.storage_offset()) == (b.stride(), b.storage_offset())
    assert sharing(ours) == sharing(theirs)


def all_tensors(value):
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from all_tensors(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from all_tensors(item)


def sharing(tensors):
    """For each tensor with memory, the first one that has the same."""
    first = {}
    addresses = [t.untyped_storage().data_ptr() for t in tensors]
    return [first.setdefault(a, index) for index, a in enumerate(addresses) if a]
