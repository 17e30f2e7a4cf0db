"""The directory is read as every program would read it, or refused."""

import io
import struct
import zipfile
import zlib

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from course_utils.checkpoint import load_checkpoint
from course_utils.errors import NotACheckpointError
from course_utils.files.contents import open_contents, verify
from course_utils.formats.source import Memory
from course_utils.formats.zip import read_directory
from course_utils.formats.zip_entries import MalformedZipError
from course_utils.safety.audit import audit

CENTRAL = b"PK\1\2"
LOCAL = b"PK\3\4"


def make(entries, method=zipfile.ZIP_STORED):
    """Return the bytes of a zip file of (name, content) pairs."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return buffer.getvalue()


def read(data):
    return read_directory(Memory(data))


def changed(data, where, offset, new):
    """Overwrite bytes at an offset from the last occurrence of a signature."""
    start = data.rindex(where) + offset
    return data[:start] + new + data[start + len(new) :]


PAIR = make([("m/data.pkl", b"first"), ("m/data/0", b"second")])


@settings(deadline=None)
@given(st.lists(st.tuples(st.text("abc/", min_size=1, max_size=9), st.binary()), max_size=4))
def test_honest_archives_are_read_as_zipfile_reads_them(entries):
    unique = {name.strip("/") or "x": content for name, content in entries}
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        data = make(unique.items(), method)
        with zipfile.ZipFile(io.BytesIO(data)) as reference:
            for record, entry in zip(read(data), reference.infolist(), strict=True):
                stored = data[record.offset : record.offset + record.stored]
                content = zlib.decompress(stored, -15) if record.compressed else stored
                assert record.name == entry.filename
                assert content == reference.read(entry)
                assert record.size == len(content)
                assert record.crc32 == zlib.crc32(content)


def test_zip64_is_read():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive, archive.open("m/x", "w", force_zip64=True) as f:
        f.write(b"content")
    (record,) = read(buffer.getvalue())
    assert (record.size, record.crc32) == (7, zlib.crc32(b"content"))
    with_end64 = buffer.getvalue()
    start, stop = with_end64.index(CENTRAL), with_end64.rindex(b"PK\5\6")
    end64 = struct.pack("<4sQHHIIQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, stop - start, start)
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, stop, 1)
    whole = with_end64[:stop] + end64 + locator + with_end64[stop:]
    assert read(whole) == [record]
    moved = whole.replace(locator, struct.pack("<4sIQI", b"PK\6\7", 0, 0, 1))
    with pytest.raises(MalformedZipError, match="second directory"):
        read(moved)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "cut off"),
        (PAIR[:-1], "cut off"),
        (PAIR[:-22], "cut off"),
        (b"junk" + PAIR, "not where it says"),
        (PAIR[:-22] + b"xx" + PAIR[-22:], "not where it says"),
        (PAIR + PAIR, "not where it says"),
        (PAIR + b"x" + PAIR[-22:], "not where it says"),
        (PAIR + b"PK\1\2 and more", "another archive"),
        (make([("m/a", b"1"), ("m/A", b"2")]), "two records are called"),
        (make([("m/DATA.pkl", b"1")]), "torch would take record m/DATA.pkl for m/data.pkl"),
        (make([("m/data.pkl", b"1"), ("m/ByteOrder", b"2")]), "would take record m/ByteOrder"),
        (make([("m/../../a", b"")]), "unsafe name"),
        (make([("/etc/a", b"")]), "unsafe name"),
        (make([("m\\a", b"")]), "unsafe name"),
        (changed(PAIR, CENTRAL, 46 + 3, b"\0"), "unsafe name"),
        (changed(PAIR, CENTRAL, 42, bytes(4)), "is not where it should be"),  # the first's header
        (changed(PAIR, CENTRAL, 38, b"\x10"), "is a folder"),  # torch returns uninitialized memory
        (make([("m/data.pkl/", b"content")]), "is a folder"),
        (changed(PAIR, LOCAL, 30, b"n"), "is not where it should be"),  # another name there
        (changed(PAIR, LOCAL, 18, b"\1"), "described in two ways"),
        (changed(PAIR, LOCAL, 8, b"\x08"), "described in two ways"),
        (changed(PAIR, LOCAL, 26, b"\1"), "described in two ways"),
        (changed(changed(PAIR, CENTRAL, 24, b"\xff"), LOCAL, 22, b"\xff"), "lies about its size"),
    ],
)
def test_what_could_be_read_in_two_ways_is_refused(data, words):
    with pytest.raises(MalformedZipError, match=words):
        read(data)


def test_what_follows_the_end_is_nobodys_business():
    assert read(PAIR + b"trailer") == read(PAIR)
    commented = changed(PAIR, b"PK\5\6", 20, b"\1\0") + b"x"
    assert read(commented) == read(PAIR)


def test_overlapping_records_are_refused():
    data = make([("a", bytes(100)), ("b", bytes(100))])
    first = data.index(CENTRAL)
    longer = struct.pack("<II", 150, 150)
    data = data[: first + 20] + longer + data[first + 28 :]
    data = data[:18] + longer + data[26:]
    with pytest.raises(MalformedZipError, match="a and b overlap"):
        read(data)


def test_records_that_reach_into_the_directory_are_refused():
    data = changed(changed(PAIR, CENTRAL, 20, b"\x10\0\0\0\x10"), LOCAL, 18, b"\x10\0\0\0\x10")
    with pytest.raises(MalformedZipError, match="should end at byte"):
        read(data)


def test_a_checkpoint_is_what_torch_finds_not_the_first_data_pkl(tmp_path):
    # torch takes the prefix of the first record; a reader that takes any data.pkl sees another.
    path = tmp_path / "two.pt"
    path.write_bytes(
        make([("evil/version", b"3"), ("good/data.pkl", b"N."), ("evil/data.pkl", b"")])
    )
    with pytest.raises(NotACheckpointError, match=r"records outside of evil/"):
        open_contents(path)


@settings(deadline=None)
@given(st.integers(0, 2000), st.integers(0, 255))
def test_a_changed_byte_is_refused_or_harmless(position, value):
    buffer = io.BytesIO()
    torch.save({"w": torch.ones(2)}, buffer)
    data = bytearray(buffer.getvalue())
    data[position % len(data)] = value
    try:
        records = read(bytes(data))
    except MalformedZipError:
        return
    assert all(record.offset + record.stored <= len(data) for record in records)


@pytest.mark.parametrize("name", ["data.pkl", "byteorder"])
def test_what_torch_finds_without_regard_to_case_has_one_spelling(name):
    for first, other in (("a", "A"), ("Model", "model")):
        with pytest.raises(MalformedZipError, match=f"take record {other}/{name} for {first}/"):
            read(make([(f"{first}/version", b"3"), (f"{other}/{name}", b"N.")]))
    with pytest.raises(MalformedZipError, match="torch would take record"):
        read(make([(f"a/{name.upper()}", b"N.")]))


@pytest.mark.parametrize("stem", ["ResNet50", "BEST", "Modell_Ü", "a.B"])
def test_a_checkpoint_may_have_capitals_in_its_name(tmp_path, stem):
    """They are in the folder of its records, which is named as the file."""
    torch.save({"w": torch.ones(2)}, tmp_path / f"{stem}.pt")
    assert verify(tmp_path / f"{stem}.pt").verdict.value == "sound"
    assert audit(tmp_path / f"{stem}.pt").verdict.value == "plain data"
    assert torch.equal(load_checkpoint(tmp_path / f"{stem}.pt")["w"], torch.ones(2))
