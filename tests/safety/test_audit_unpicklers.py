"""What `audit` calls plain data, against what three unpicklers would import, call and change.

CPython's two unpicklers run with everything that is not known to be harmless replaced by a stub
that records what is done to it; so real attacks are followed to their end, and do nothing.
"""

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
import pytest
import torch
from test_audit_fuzz import GLOBALS, MEMO, PLAIN, STACK, random_pickle

from course_utils.formats.allowed import TORCH_ALLOWS
from course_utils.formats.judge import Verdict, modern_name
from course_utils.formats.pickle_nodes import Global
from course_utils.safety import audit

IN_CI = 1500  # pickles
HARMLESS = {"collections.OrderedDict", "builtins.set", "builtins.complex", "builtins.bytearray"}
ROOM = 256 << 20  # bytes for an unpickler


class Stub:
    """Stands for what would be imported, and for what calling it would give."""

    def __init__(self, name, record):
        self.__dict__.update(_name=name, _record=record)

    def _did(self, what):
        self._record.add((what, self._name))

    def __call__(self, *_, **__):
        self._did("call")
        return Stub("", self._record)

    def __setstate__(self, _):
        self._did("change")

    def __setattr__(self, *_):
        self._did("change")

    def __setitem__(self, *_):
        self._did("change")

    def append(self, _):
        self._did("change")

    extend = add = append


def recorded(base, content):
    """Let an unpickler follow a pickle; return what it did to what it imported."""
    record = set()

    class Unpickler(base):
        def find_class(self, module, name):
            full = modern_name(Global(module, name))
            record.add(("import", full))
            known = full in HARMLESS
            return super().find_class(module, name) if known else Stub(full, record)

        def persistent_load(self, _):
            return Stub("storage", set())

    with warnings.catch_warnings(), little_memory():
        warnings.simplefilter("ignore")
        try:
            Unpickler(io.BytesIO(content)).load()
        except Exception as error:  # of any type: what was done before counts
            record.add(("stop", type(error).__name__))
    return record


def forbidden(record):
    """Return what no plain data does; what a call returned is a part of the call."""
    return {
        (what, name)
        for what, name in record
        if name
        and name != "storage"
        and what != "stop"
        and (what == "change" or name not in TORCH_ALLOWS)
    }


def refused_by_torch(path):
    with warnings.catch_warnings(), little_memory():
        warnings.simplefilter("ignore")
        try:
            torch.load(path, weights_only=True)
        except Exception as error:
            return "Unsupported global" in str(error) or "Unsupported class" in str(error)
    return False


def real_pickles():
    state = {"w": torch.ones(2, 2), "o": {1: [2.5, None, b"x"], "k": {1, 2}}, "c": 1j}
    buffer = io.BytesIO()
    torch.save(state, buffer)
    with zipfile.ZipFile(buffer) as archive:
        yield next(archive.read(name) for name in archive.namelist() if name.endswith("data.pkl"))
    for protocol in range(6):
        yield pickle.dumps({"a": [1, (2.5, "x")], "s": {3}, "o": random.Random}, protocol)


REAL = list(real_pickles())
CHANGES = [
    b"cprobe\nRuns\n}U\x01aK\x01sb", b"cos\nenviron\n", b"cos\nenviron\nU\x01aU\x01bs",
    b"csys\npath\nU\x01aa", b"csys\npath\n(U\x01ae", b"csys\nmodules\n(U\x01aNu", b"(K\x01K\x02e",
    b"](K\x00K\x01u", b"cprobe\nRuns\nN}U\x01aK\x01s\x86b", b"\x8f(K\x01\x90", b"\x96" + bytes(8),
    b"}(\x8a\x0a" + b"\xff" * 9 + b"\x01Nu", b"\x82\x01", b"cbuiltins\nset\n(K\x01\x90",
    b"}](K\x01eNs", b"\x95" + (9).to_bytes(8, "little"), b"Poutside\n",
]  # fmt: skip


def random_content(rng):
    kind = rng.random()
    if kind < 0.4:
        return random_pickle(rng)
    if kind < 0.7:
        data = bytearray(rng.choice(REAL))
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(data))
            new = rng.choice([bytes([rng.randrange(256)]), rng.choice(GLOBALS + STACK + CHANGES)])
            data[at : at + rng.choice([0, 1])] = new
        return bytes(data)
    pools = [GLOBALS, PLAIN, STACK, MEMO, CHANGES]
    parts = [rng.choice(rng.choices(pools, [2, 3, 4, 1, 4])[0]) for _ in range(rng.randint(1, 20))]
    return b"\x80" + bytes([rng.choice([2, 4, 5])]) + b"".join(parts) + b"."


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


def check(content, folder):
    """Compare verdicts with what the unpicklers do; return whether they did what is forbidden."""
    plain, archive = folder / "file.pkl", folder / "file.pt"
    plain.write_bytes(content)
    archive.write_bytes(hostile.zip_checkpoint(content))
    verdicts = [audit(path).verdict for path in (plain, archive)]
    done = set()
    for base in (pickle.Unpickler, pickle._Unpickler):
        done |= forbidden(recorded(base, content))
    if done:
        assert Verdict.PLAIN_DATA not in verdicts, (content, done)
    if any(what in ("call", "change") for what, _ in done):
        assert Verdict.NOT_A_CHECKPOINT not in verdicts, (content, done)
    if Verdict.PLAIN_DATA in verdicts:
        assert not refused_by_torch(archive), content
    if any(what in ("change", "call") and name.startswith(("os.", "sys.")) for what, name in done):
        assert Verdict.WOULD_RUN_CODE in verdicts, (content, done)
    return bool(done)


@pytest.mark.parametrize("part", range(3))
def test_what_unpicklers_do_is_never_called_plain_data(tmp_path, part):
    harmful = sum(
        check(random_content(random.Random(seed)), tmp_path) for seed in range(part, IN_CI, 3)
    )
    assert harmful > IN_CI // 20  # else the test shows little


@pytest.mark.torture
def test_ten_minutes_of_unpicklers(tmp_path):
    """Prints the seed of a failure; TORTURE_MINUTES sets another length."""
    end = time.monotonic() + 60 * float(os.environ.get("TORTURE_MINUTES", "10"))
    seed = random.randrange(2**60)
    while time.monotonic() < end:
        try:
            check(random_content(random.Random(seed)), tmp_path)
        except BaseException as error:
            error.add_note(f"random_content(random.Random({seed}))")
            raise
        seed += 1
