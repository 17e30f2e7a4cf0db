"""Headers in the usual spelling are read by a shorter way, which never reads anything else."""

import itertools
import json
import random
from pathlib import Path

import pytest

from course_utils.errors import (
    DamagedCheckpointError,
    NotACheckpointError,
    UnsupportedCheckpointError,
)
from course_utils.formats import safetensors
from course_utils.formats.open import open_contents
from course_utils.formats.safetensors import MalformedHeaderError, read_header
from course_utils.formats.source import Memory

KINDS = {"F32": 4, "BF16": 2, "I64": 8, "BOOL": 1, "F8_E4M3": 1}


def header(dice, *, metadata):
    """Return a header of a few tensors as safetensors spells it, and the bytes it needs."""
    members, place = {}, 0
    if metadata:
        members["__metadata__"] = {"format": "pt", 'a "quoted" {word}': '","shape":[1]}'}
    for number in range(dice.randrange(6)):
        kind = dice.choice(list(KINDS))
        shape = [dice.randrange(4) for _ in range(dice.randrange(4))]
        size = KINDS[kind]
        for length in shape:
            size *= length
        name = dice.choice(["w", "層", "a.b", "__", "x,y", "{"]) + str(number)
        members[name] = {"dtype": kind, "shape": shape, "data_offsets": [place, place + size]}
        place += size
    return members, place


def spelled(members):
    return json.dumps(members, separators=(",", ":"), ensure_ascii=False).encode()


def outcome(read, text, data=1000):
    try:
        return read(text, data)
    except MalformedHeaderError:
        return None


@pytest.mark.parametrize("metadata", [False, True])
def test_the_usual_spelling_is_read_the_short_way(metadata):
    dice = random.Random(1)
    for _ in range(200):
        members, _ = header(dice, metadata=metadata)
        text = spelled(members) + b" " * dice.randrange(9)
        expected = safetensors._any(text, 1000)
        if len(members) > metadata:
            assert safetensors._usual(text, 1000) == expected
            assert list(safetensors._usual(text, 1000)[0]) == list(expected[0])


def test_whatever_is_changed_the_short_way_reads_it_alike_or_not_at_all():
    dice = random.Random(2)
    taken = 0
    for _ in range(6000):
        text = bytearray(spelled(header(dice, metadata=dice.random() < 0.3)[0]))
        place = dice.randrange(len(text))
        pieces = [b"", bytes([dice.randrange(256)]), b"0", b",", b'"', b" ", b"\\", b"}"]
        text[place : place + dice.randrange(2)] = dice.choice(pieces)
        short = safetensors._usual(bytes(text), 1000)
        if short is not None:
            taken += 1
            assert short == outcome(safetensors._any, bytes(text))
    assert taken > 100


@pytest.mark.parametrize(
    "text",
    [
        b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],'
        b'"data_offsets":[0,4]}}',
        b'{"a":{"dtype":"F32","shape":[01],"data_offsets":[0,4]}}',
        b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[00,4]}}',
        b'{"a":{"dtype":"F32","shape":[1,],"data_offsets":[0,4]}}',
        b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},}',
        b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}} {}',
        b'{"__metadata__":{"a":1},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
        b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}',
        b'{"a":{"dtype":"F32","shape":[' + b"1," * 64 + b'1],"data_offsets":[0,4]}}',
        b'{"\xff":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
        b'["a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
        b'{"a":{"dtype":"F32","shape":[' + b"9" * 5000 + b'],"data_offsets":[0,4]}}',
    ],
)
def test_what_makes_no_sense_is_refused(text):
    assert safetensors._usual(text, 8 + len(text)) is None
    file = len(text).to_bytes(8, "little") + text + bytes(4)
    with pytest.raises(MalformedHeaderError):
        read_header(Memory(file))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"dtype": "F6_E2M3"}, "of dtype 'F6_E2M3', not known here"),
        ({"strides": [1]}, "described with strides, not known here"),
    ],
)
def test_what_is_newer_than_this_reader_is_no_damage(fields, words):
    tensor = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4], **fields}
    text = json.dumps({"a": tensor}).encode()
    file = Memory(len(text).to_bytes(8, "little") + text + bytes(4))
    with pytest.raises(UnsupportedCheckpointError, match=words):
        open_contents(file, Path("new"))


def test_a_file_cut_off_within_its_header_is_damaged_wherever_it_ends():
    header = json.dumps({f"w{n}": {"dtype": "U8", "shape": [1], "data_offsets": [n, n + 1]}
                         for n in range(9)}).encode()  # fmt: skip
    whole = len(header).to_bytes(8, "little") + header + bytes(9)
    for length in range(10, 8 + len(header)):
        with pytest.raises(DamagedCheckpointError, match="ends within its header"):
            open_contents(Memory(whole[:length]), Path("cut"))
    other = b"\x00" * 3 + b"\x01" * 5 + b'{"a": 1}'  # a length that no header has
    with pytest.raises(NotACheckpointError):
        open_contents(Memory(other), Path("other"))


@pytest.mark.parametrize("keys", itertools.permutations(["dtype", "shape", "data_offsets"]))
def test_a_tensor_is_described_in_any_order(keys):
    """MLX sorts the keys: a shape stands where safetensors itself has the offsets."""
    dice = random.Random(2)
    for _ in range(50):
        members, size = header(dice, metadata=False)
        sorted_otherwise = {n: {key: entry[key] for key in keys} for n, entry in members.items()}
        text = spelled(sorted_otherwise)
        found = read_header(Memory(len(text).to_bytes(8, "little") + text + bytes(size)))
        for name, entry in members.items():
            start, stop = (8 + len(text) + offset for offset in entry["data_offsets"])
            assert found.tensors[name][1:] == (tuple(entry["shape"]), start, stop)
