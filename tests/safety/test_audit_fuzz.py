"""Random files: audit never crashes or hangs, and never calls plain data what would run code."""

import contextlib
import io
import os
import pickle
import random
import resource
import time
import warnings
import zipfile
from pathlib import Path

import hostile
import probe
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from course_utils.errors import CheckpointError
from course_utils.files.contents import open_contents
from course_utils.formats.judge import Verdict
from course_utils.safety import audit, load_untrusted

GLOBALS = [
    b"cprobe\nrun\n", b"cprobe\nRuns\n", b"ccollections\nOrderedDict\n", b"cbuiltins\nset\n",
    b"ccollections\nCounter\n", b"c_codecs\nencode\n", b"ctorch\nSize\n", b"ctorch\ndevice\n",
    b"ctorch._utils\n_rebuild_tensor_v2\n", b"ctorch._utils\n_rebuild_parameter\n",
    b"ctorch._utils\n_rebuild_parameter_with_state\n", b"ctorch._tensor\n_rebuild_from_type_v2\n",
    b"cbuiltins\nbytearray\n", b"ctorch.nn.parameter\nParameter\n", b"ctorch\nTensor\n",
    b"ctorch\nFloatStorage\n", b"cbuiltins\ngetattr\n", b"ccopyreg\n_reconstructor\n",
    b"cbuiltins\nobject\n", b"cfunctools\npartial\n", b"cbuiltins\nmap\n", b"cbuiltins\nlist\n",
]  # fmt: skip
PLAIN = [
    b"N", b"\x88", b"K\x01", b"]", b"}", b")", b"\x8f", b"G" + bytes(8),
    *(hostile.text(word) for word in ("probe", "run", "Runs", "latin1", "a", "storage", "0")),
    hostile.storage(), hostile.tensor(),
]  # fmt: skip
STACK = [b"R", b"\x81", b"b", b"o", b"\x85", b"\x86", b"\x87", b"t", b"l", b"d", b"e", b"u", b"a",
         b"s", b"\x93", b"0", b"1", b"2", b"(", b"Q", b"\x91", b"\x90", b"\x94", b"\x92",
         b"iprobe\nrun\n", b"."]  # fmt: skip
MEMO = [op + bytes([n]) for op in (b"q", b"h") for n in range(3)]

ROOM = 256 << 20  # bytes for an unpickler
SECONDS = 20  # of computing: a hang, where a thousandth of a second is usual


def random_pickle(rng):
    """Return a pickle of instructions that more often make sense together than not."""
    parts = [b"\x80", bytes([rng.choice([2, 4])])]
    for _ in range(rng.randint(1, 25)):
        kinds = rng.choices([GLOBALS, PLAIN, STACK, MEMO], weights=[3, 4, 5, 1])
        parts.append(rng.choice(kinds[0]))
        if parts[-1] in GLOBALS and rng.random() < 0.6:  # call it at once
            argument = rng.choice(
                [b")", rng.choice(PLAIN) + b"\x85", b"(" + rng.choice(PLAIN) + b"t"]
            )
            parts.append(argument + rng.choice([b"R", b"R", b"\x81"]))
    return b"".join(parts) + b"."


def random_file(rng):
    """Return a file around a random pickle, perhaps with some bytes changed."""
    content = random_pickle(rng)
    wrap = rng.choice(
        [bytes, hostile.zip_checkpoint, hostile.legacy_checkpoint, hostile.tar_checkpoint]
    )
    data = bytearray(wrap(content))
    for _ in range(rng.choice([0, 0, 1, 3])):
        data[rng.randrange(len(data))] = rng.randrange(256)
    if rng.random() < 0.1:
        del data[rng.randrange(len(data)) :]
    return bytes(data)


@contextlib.contextmanager
def little_memory():
    """Let nobody take much: CPython makes room for all memo entries up to the largest number."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    most = pages * resource.getpagesize() + ROOM
    resource.setrlimit(resource.RLIMIT_AS, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def check(data, folder):
    """Audit a file and load it in every way; what runs code must not be called plain data."""
    path = folder / "file.pt"
    path.write_bytes(data)
    start = time.process_time()
    found = audit(path)
    before = probe.calls
    with contextlib.suppress(CheckpointError):
        load_untrusted(path)
        assert found.verdict is Verdict.PLAIN_DATA
    assert time.process_time() - start < SECONDS, "too long for so small a file"
    assert probe.calls == before, "load_untrusted ran code"
    with contextlib.suppress(Exception), little_memory():
        pickle.loads(data)
    with contextlib.suppress(Exception), little_memory():
        if found.verdict is Verdict.PLAIN_DATA:
            # Safe enough to do here: had the verdict been wrong, the probe would show it.
            torch.load(path, weights_only=False)
        else:
            Unpickler(pickle_in(data)).load()
    if probe.calls > before:
        # Damaged: a zip file that two programs may read differently is not looked into.
        # Needs these globals: a class's own __new__ and __setstate__ are its business.
        assert found.verdict not in (Verdict.PLAIN_DATA, Verdict.NOT_A_CHECKPOINT), found


class Unpickler(pickle.Unpickler):
    def persistent_load(self, _):
        return torch.UntypedStorage(16)


def pickle_in(data):
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return io.BytesIO(archive.read("file/data.pkl"))
    except Exception:
        return io.BytesIO(data)


@pytest.fixture(autouse=True)
def _quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.integers(0, 2**32))
def test_random_files_are_never_mistaken_for_plain_data(tmp_path, seed):
    check(random_file(random.Random(seed)), tmp_path)


def check_one_reading(rng, folder):
    """Change a checkpoint's bytes; if we still read it, torch's zip library must read the same."""
    path = folder / "zip.pt"
    data = bytearray(hostile.zip_checkpoint(pickle.dumps({"a": 1}, 2)))
    directory = data.rindex(b"PK\1\2") - 300
    for _ in range(rng.randint(1, 4)):
        # Mostly in headers, mostly small changes, some of them two that agree.
        place = rng.choice([rng.randrange(len(data)), rng.randrange(directory, len(data))])
        data[place] = rng.choice([data[place] ^ (1 << rng.randrange(8)), rng.randrange(256)])
    if rng.random() < 0.3:
        other = hostile.zip_checkpoint(pickle.dumps({"b": 2}, 2))
        data = rng.choice([data + other, other + data, data[:-22] + other[-22:]])
    path.write_bytes(data)
    try:
        records = open_contents(path).records
    except CheckpointError:
        return
    with contextlib.suppress(RuntimeError, UnicodeDecodeError):  # torch may refuse more than we do
        reader = torch._C.PyTorchFileReader(str(path))
        assert {name.removeprefix("file/") for name in reader.get_all_records()} == set(records)
        for name, record in records.items():
            if not record.compressed:
                stored = data[record.offset : record.offset + record.stored]
                assert reader.get_record(name) == stored, name


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.integers(0, 2**32))
def test_torch_reads_the_same_records_or_we_refuse(tmp_path, seed):
    check_one_reading(random.Random(seed), tmp_path)


@pytest.mark.torture
def test_ten_minutes_of_random_files(tmp_path):
    """Prints the seed of a failure; TORTURE_MINUTES sets another length."""
    end = time.monotonic() + 60 * float(os.environ.get("TORTURE_MINUTES", "10"))
    start = seed = random.randrange(2**60)
    while time.monotonic() < end:
        try:
            check(random_file(random.Random(seed)), tmp_path)
            check_one_reading(random.Random(seed), tmp_path)
        except BaseException as error:
            error.add_note(f"random_file(random.Random({seed}))")
            raise
        seed += 1
    assert seed - start > 1000
