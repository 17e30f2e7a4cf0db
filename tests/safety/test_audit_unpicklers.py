"""What `audit` calls plain data, against what three unpicklers would import, call and change.

CPython's two unpicklers run with everything that is not known to be harmless replaced by a stub
that records what is done to it; so real attacks are followed to their end, and do nothing.
"""

import io
import os
import pickle
import random
import time
import warnings
import zipfile

import hostile
import pytest
import torch
from test_audit_fuzz import GLOBALS, MEMO, PLAIN, STACK, little_memory, random_pickle

from course_utils.formats.allowed import TORCH_ALLOWS
from course_utils.formats.judge import Verdict, modern_name
from course_utils.formats.pickle_nodes import Global
from course_utils.safety import audit

IN_CI = 1500  # pickles
HARMLESS = {"collections.OrderedDict", "builtins.set", "builtins.complex", "builtins.bytearray"}


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


def recorded(base, content, pickles=1):
    """Let an unpickler follow some pickles in a row; return what it did to what it imported."""
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
        file = io.BytesIO(content)
        try:
            for _ in range(pickles):
                Unpickler(file).load()
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
    b"\x97", b"N\x98", b"N\x97\x98", b"\x84\x01\0\0\0", b"\x83\x01\0", b"p1\n", b"g1\n",
    b"r\1\0\0\0", b"j\1\0\0\0", b"S'probe'\n", b"Vrun\n", b"I01\n", b"L1L\n", b"F1\n",
    b"\x8b\1\0\0\0\1", b"0.", b"K\1Q", b"cjoblib.numpy_pickle\nNumpyArrayWrapper\n)\x81}b", b"N)Q",
    b"cprobe\nrun\nQ)R",
]  # fmt: skip


def random_content(rng):
    """A pickle, or what is left of it after a change to its frames, its end or what follows."""
    content = _random_pickle(rng)
    kind = rng.random()
    if kind < 0.1:
        return content[: rng.randrange(1, len(content) + 1)]
    if kind < 0.2:
        return content + _random_pickle(rng)
    if kind < 0.4:
        for _ in range(rng.randint(1, 3)):
            at = rng.randrange(len(content) + 1)
            length = rng.choice([0, 1, rng.randrange(80), len(content) - at, 2**63])
            content = content[:at] + b"\x95" + length.to_bytes(8, "little") + content[at:]
    return content


def _random_pickle(rng):
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


def check(content, folder):
    """Compare verdicts with what the unpicklers do; return whether they did what is forbidden."""
    plain, archive = folder / "file.pkl", folder / "file.pt"
    plain.write_bytes(content)
    archive.write_bytes(hostile.zip_checkpoint(content))
    # Of an archive, torch reads the first pickle; of a file, whoever asks again the next.
    found = [_compared(plain, content, 3), _compared(archive, content, 1)]
    if audit(archive).verdict is Verdict.PLAIN_DATA:
        assert not refused_by_torch(archive), content
    return any(found)


def _compared(path, content, pickles):
    verdict, done = audit(path).verdict, set()
    for base in (pickle.Unpickler, pickle._Unpickler):
        done |= forbidden(recorded(base, content, pickles))
    acts = [name for what, name in done if what in ("call", "change")]
    said = path.name, verdict, content, done
    assert not done or verdict is not Verdict.PLAIN_DATA, said
    assert not acts or verdict is not Verdict.NOT_A_CHECKPOINT, said
    # What follows a pickle that contradicts itself is not read, and the file is called damaged.
    if pickles == 1 and any(name.startswith(("os.", "sys.")) for name in acts):
        assert verdict is Verdict.WOULD_RUN_CODE, said
    return bool(done)


SEEN = [  # each was judged wrongly once
    b"cprobe\nrun\n\x80\x04\x95\x40" + bytes(7)
    + b"}\x94(ctorch\ndevice\nc\x8c\x01a\x94]\x94(K\x01G@\4"
    + bytes(6) + b"\x8c\x01x\x94\x86\x94e\x8c\x01s\x94\x8f\x94(K\x03\x90\x8c\x01o\x94\x8c\x06"
    b"rancprobe\nRuns\nN}U\x01aK\x01s\x86bom\x94\x8c\x06Random\x94\x93\x94u.",
    b"\x80\x04K\1.K\1cprobe\nrun\n\x85\x93.",
    b"\x80\x02K\1.iprobe\nrun\n.",
    b"}.N.cprobe\nrun\n)R.",
    b"\x80\x04\x95\x05" + bytes(7) + b"N.N.Ncprobe\nrun\n.",
    b"(K\1\x95\x06" + bytes(7) + b"c\xffprobe\nrun\n.",
    b"\x80\x02K\1.cprobe\nru",
    b"\x80\x02K\1.cprobe",
]  # fmt: skip


@pytest.mark.parametrize("content", SEEN)
def test_what_was_judged_wrongly_once(tmp_path, content):
    assert check(content, tmp_path)


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
