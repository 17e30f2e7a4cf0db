"""Every message that says that a file is damaged comes from a file that is.

The messages are collected from the source; each must be what some changed or cut file gets.
"""

import ast
import io
import json
import pickle
import random
import re
import struct
import warnings
import zipfile
from pathlib import Path

import hostile
import test_legacy
import torch
from safetensors.torch import save_file

import course_utils
from course_utils.anatomy import read_archive, read_record, read_tensors
from course_utils.files.read_back import open_sound
from course_utils.formats.elements import blocks
from course_utils.formats.pickle import opcodes
from course_utils.formats.verify import verify
from course_utils.safety import audit

PACKAGE = Path(course_utils.__file__).parent
WINGS = ("anatomy", "files", "formats", "safety")
ERRORS = {
    "DamagedCheckpointError", "DamagedRecordError", "MalformedPickleError", "MalformedZipError",
    "MalformedHeaderError", "LegacyError",
}  # fmt: skip


# What calls a folder damaged: see test_damaged_folders.
OF_FOLDERS = [
    PACKAGE / "formats" / name
    for name in (
        "dcp_index.py",
        "distributed.py",
        "folder_parts.py",
        "folder_pieces.py",
        "folders.py",
    )
]
OF_FILES = [
    path
    for wing in WINGS
    for path in sorted((PACKAGE / wing).glob("*.py"))
    if path not in OF_FOLDERS
]


def messages(modules):
    """Yield (place, regular expression) of every message that calls something damaged."""
    for path in modules:
        wing = path.parent.name
        for node in ast.walk(ast.parse(path.read_text())):
            text = _message(node)
            if text is not None and len(re.sub(r"\.\*|\W", "", text)) > 8:
                yield f"{wing}/{path.name}:{node.lineno}", text


def _message(node):
    if not isinstance(node, ast.Call) or not node.args:
        return None
    name = getattr(node.func, "id", getattr(node.func, "attr", ""))
    says = name in ERRORS or name == "complain"
    if name == "add" and ast.unparse(node.args[0]) == "Verdict.DAMAGED":
        says = True
    return _pattern(node.args[-1]) if says else None


def _pattern(node):
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return re.escape(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(_pattern(part) or ".*" for part in node.values)
    return None


def bases(folder):
    """Return sound files of all formats."""
    state = {
        "w": torch.arange(6.0),
        "n": {"a": [1, 2.5, "x"]},
        "b": torch.ones(2, dtype=torch.int8),
    }
    torch.save(state, folder / "zip.pt")
    torch.save(state, folder / "old.pt", _use_new_zipfile_serialization=False)
    save_file({"w": torch.arange(6.0), "b": torch.ones(2)}, folder / "st", {"note": "x"})
    torch.serialization.set_crc32_options(False)
    torch.save(state, folder / "bare.pt")
    torch.serialization.set_crc32_options(True)
    with zipfile.ZipFile(folder / "zip.pt") as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    return {
        "zip": (folder / "zip.pt").read_bytes(),
        "old": with_fixed_keys(folder / "old.pt"),
        "safetensors": (folder / "st").read_bytes(),
        "packed": repacked(records, zipfile.ZIP_DEFLATED),
        "tar": test_legacy.tar(),
        "without checksums": (folder / "bare.pt").read_bytes(),
    }


def with_fixed_keys(path):
    """Return an old file with other keys of its storages: torch takes addresses in memory."""
    content = path.read_bytes()
    for number, name in enumerate(read_archive(path).records):
        key = name.removeprefix("data/").encode()
        content = content.replace(key, str(number).zfill(len(key)).encode())
    return content


def repacked(records, method=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in records.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def changed(content):
    """Yield a file cut off, and with bytes changed: in all places where it is short."""
    rng = random.Random(1)
    short = len(content) < 1500
    places = range(len(content)) if short else rng.sample(range(len(content)), 400)
    for place in places:
        data = bytearray(content)
        data[place] ^= rng.choice([1, 2, 4, 8, 16, 32, 64, 128, 255])
        yield bytes(data)
    for place in places[::4]:
        yield content[:place]


def made():
    """Yield files with one thing wrong that no single byte makes so."""
    yield from map(hostile.zip_checkpoint, NONSENSE)
    yield from map(hostile.legacy_checkpoint, NONSENSE)
    yield from HEADERS
    yield from ZIPS
    yield hostile.zip_checkpoint(pickled(b"N"), extra=[("file/DATA/0", b"")])  # two of a name
    yield from (test_legacy.stream(tree, {"7": test_legacy.DATA}) for tree in TREES)


def pickled(content):
    return b"\x80\x02" + content + b"."


NONSENSE = [pickled(content) for content in (
    hostile.tensor(key="1"),  # of a storage that is not there
    b"(" + hostile.text("module") + b"K\x01tQ", hostile.tensor(kind="StorageOfNothing"),
    hostile.tensor(offset=9), hostile.tensor(shape=(-1,)), hostile.tensor(shape=(1,) * 65),
    hostile.tensor(shape=(2**40, 2**40), stride=(0, 0)), hostile.tensor(count=2**40),
    b"ctorch._utils\n_rebuild_tensor_v2\n(NK\x00))\x89NtR",
    b"ctorch._utils\n_rebuild_tensor_v2\n)R", b"}]K\x01s", b"\x85", hostile.text("module") + b"Q",
)]  # fmt: skip
NONSENSE += [
    b"\x80\x09N.", b"\x80\x04\x95" + struct.pack("<Q", 3) + b"(\x8c\x03abct.",
    b"\x80\x04\x95" + struct.pack("<Q", 30) + b"\x95" + struct.pack("<Q", 3) + b"N" * 30 + b".",
    b"\x80\x04\x95" + struct.pack("<Q", 9) + b"N." + bytes(7),
    b"\x80\x02cos", b"\x80\x02X\x09\x00\x00\x00ab", b"\x80\x02\x8c\x09ab",
]  # fmt: skip


def header(tensors, data=b""):
    text = tensors if isinstance(tensors, bytes) else json.dumps(tensors).encode()
    return struct.pack("<Q", len(text)) + text + data


def entry(dtype, shape, start, stop):
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


HEADERS = [
    header({"t": entry("F32", [1], 0, 4), "u": entry("F32", [1], 8, 12)}, bytes(12)),
    header({"t": entry("F32", [1], 0, 4)}, bytes(5)),
    header({"t": entry("F32", [2], 0, 4)}, bytes(4)),
    header({"t": entry("F32", [-1], 0, 4)}, bytes(4)), header({"t": {"dtype": "F32"}}),
    header({"t": entry("F4", [3], 0, 2)}, bytes(2)), header({"__metadata__": {"a": 1}}),
    header({"t": entry("F32", [1] * 65, 0, 4)}, bytes(4)),
    header(b'{"a":{},"a":{}}'), header(b'{"t": nonsense}'),
]  # fmt: skip


def twice(data, signature, offset, new):
    at = data.rindex(signature) + offset
    return data[:at] + new + data[at + len(new) :]


def larger(data):
    """Let the last record be said to be larger than there is room, in both of its headers."""
    for signature, offset in ((b"PK\3\4", 18), (b"PK\1\2", 20)):
        data = twice(data, signature, offset, struct.pack("<II", 500, 500))
    return data


def without_keys():
    """Return an old file whose storages' keys are no list."""
    whole = test_legacy.stream(test_legacy.storage(), {"7": test_legacy.DATA})
    keys = b"\x80\x02](" + test_legacy.text("7") + b"e."
    assert whole.count(keys) == 1
    return whole.replace(keys, b"\x80\x02K\x01.")


PAIR = repacked({"m/data.pkl": pickled(b"N"), "m/data/0": b"12345678"})
ZIPS = [
    PAIR + PAIR[-22:] + b"PK", repacked({"m/data.pkl": pickled(b"N"), "other": b""}),
    repacked({"m/data.pkl": pickled(b"N"), "m/byteorder": b"big"}).replace(b"big", b"bog"),
    repacked({"m/data.pkl": pickled(b"N"), "m/DATA.PKL": b""}), repacked({"/m": b"", "m": b""}),
    repacked({"m/data.pkl/": b"content"}), PAIR + pickle.dumps(1, 2), b"\x80\x02N." + PAIR,
    without_keys(), test_legacy.tar(tensors=None), test_legacy.tar(storages=pickle.dumps([], 2)),
    test_legacy.tar(pickle=pickled(hostile.text("99") + b"Q")),
    test_legacy.tar(pickle=pickled(hostile.text("11") + b"Q")),
    test_legacy.tar()[: test_legacy.tar().rindex(test_legacy.DATA)],
    repacked({"m/data.pkl": pickled(b"}U\x01t" + hostile.tensor() + b"s")}),
    twice(PAIR, b"PK\5\6", 8, b"\3\0\3\0"), twice(PAIR, b"PK\1\2", 20, b"\xff" * 8),
    larger(PAIR),
]  # fmt: skip
PARTS = [b"(" + hostile.text(name) + size + b"t" for name, size in (
    ("9", b"K\x04K\x04"), ("7", b"K\x01K\x01"), ("9", b"K\x00K\x01"), ("9", b"K\x01K\x01"),
)]  # fmt: skip
TREES = [
    test_legacy.storage(view=PARTS[0]), test_legacy.storage(view=PARTS[1]),
    test_legacy.storage(view=PARTS[2]),
    test_legacy.storage(view=PARTS[2]) + test_legacy.storage(view=PARTS[3]) + b"\x86",
    test_legacy.storage() + test_legacy.storage(kind=b"IntStorage") + b"\x86",
]  # fmt: skip

# Not those of a file that is there to be read.
NOT_MADE = [
    "is not there, and listed in",  # a shard that is lost
    "not written. Read back, it is not what it was made from",  # what is written is right
    "ends too early",  # it was longer when it was opened
    "something follows its end",  # asked whether it is a row of archives, and it is none
    "its header is not a JSON object",  # then it is taken for another kind of file
]


def said_of(path):
    """Yield all that tools say of a file."""
    yield from (finding.reason for finding in audit(path).findings)
    for tool in (_verify, read_archive, _read, _records, open_sound, _blocks, _opcodes):
        try:
            found = tool(path)
        except Exception as error:  # refusals of every kind
            yield str(error)
            continue
        if tool is _verify:
            yield from (finding.problem for finding in found.findings)


def _verify(path):
    return verify(read_archive(path))


def _opcodes(path):
    return list(opcodes(path.read_bytes()))


def _read(path):
    archive = read_archive(path)
    for name in archive.tensors:
        read_tensors(archive, [name])


def _records(path):
    for record in read_archive(path).records.values():
        read_record(path, record)


def _blocks(path):
    archive = read_archive(path)  # not verified
    for name in archive.tensors:
        for _ in blocks(archive, name):
            pass


def test_every_message_of_damage_is_that_of_a_damaged_file(tmp_path):
    missing = dict(messages(OF_FILES))
    files = [*made()]
    for content in bases(tmp_path).values():
        files += changed(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for content in files:
            (tmp_path / "file.pt").write_bytes(content)
            for said in said_of(tmp_path / "file.pt"):
                missing = {
                    at: text for at, text in missing.items() if not re.search(text, said, 16)
                }
    plain = {at: text.replace("\\", "") for at, text in missing.items()}
    assert [x for x in plain.items() if not any(known in x[1] for known in NOT_MADE)] == []
