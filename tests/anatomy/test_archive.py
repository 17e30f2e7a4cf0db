"""The archive reader agrees with torch on every tensor, and runs nothing to find out."""

import os
import struct
import sys
import zipfile
import zlib
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from course_utils.anatomy import byte_map, read_archive, read_tensors, summarize
from course_utils.errors import (
    CheckpointError,
    DamagedCheckpointError,
    MissingCheckpointError,
    NotACheckpointError,
    UnsupportedCheckpointError,
)
from course_utils.lessons.models import MLP, TiedAutoencoder

DTYPES = [
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32,
    torch.int16, torch.int8, torch.uint8, torch.bool, torch.complex64, torch.uint16, torch.uint32,
    torch.float8_e4m3fn,
]  # fmt: skip


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "checkpoint.pt"
    model = MLP(hidden=4)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.rand(2, 1, 8, 8)).sum().backward()
    optimizer.step()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, path)
    return path


def bits(tensor):
    return tensor.clone(memory_format=torch.contiguous_format).reshape(-1).view(torch.uint8)


@st.composite
def tensors(draw):
    """Tensors of any dtype, some transposed, sliced, expanded or empty."""
    shape = draw(st.lists(st.integers(0, 4), max_size=3))
    dtype = draw(st.sampled_from(DTYPES))
    count = int(torch.tensor(shape).prod()) * dtype.itemsize if shape else dtype.itemsize
    raw = torch.randint(0, 2, (count,), dtype=torch.uint8)
    tensor = raw.view(dtype).reshape(shape)
    if shape and draw(st.booleans()):
        tensor = tensor.transpose(0, -1)
    if shape and shape[0] and draw(st.booleans()):
        tensor = tensor[draw(st.integers(0, tensor.shape[0])) :]
    if draw(st.booleans()):
        tensor = tensor.expand(2, *tensor.shape)
    return tensor


@settings(deadline=None, max_examples=60)
@given(st.dictionaries(st.text("ab.", min_size=1, max_size=4), tensors(), max_size=4))
def test_every_tensor_is_described_and_read_as_torch_loads_it(state):
    path = Path(os.environ["PYTEST_SCRATCH"]) / "any.pt"
    torch.save({"inner": state}, path)
    loaded = torch.load(path)["inner"]
    archive = read_archive(path)
    assert len(archive.tensors) == len(state)
    for (name, info), expected in zip(archive.tensors.items(), loaded.values(), strict=True):
        assert info.shape == tuple(expected.shape)
        assert info.stride == expected.stride()
        assert info.dtype == str(expected.dtype).removeprefix("torch.")
        assert info.storage_offset == expected.storage_offset()
        assert info.storage_nbytes == expected.untyped_storage().nbytes()
        assert info.device == "cpu"
        (tensor,) = read_tensors(archive, [name]).values()
        assert torch.equal(bits(tensor), bits(expected))


@pytest.fixture(autouse=True)
def _scratch(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTEST_SCRATCH", str(tmp_path))


def test_names_are_paths(saved):
    names = list(read_archive(saved).tensors)
    assert names[0] == "model.features.1.weight"
    assert "optimizer.state.3.exp_avg_sq" in names


def test_records_are_where_the_directory_says(saved):
    archive = read_archive(saved)
    data = saved.read_bytes()
    with zipfile.ZipFile(saved) as reference:
        assert len(archive.records) == len(reference.namelist())
        for entry in reference.infolist():
            record = archive.records[entry.filename.split("/", 1)[1]]
            content = data[record.offset : record.offset + record.size]
            assert content == reference.read(entry)
            assert record.crc32 == zlib.crc32(content)
            assert record.offset % 64 == 0
            assert record.alignment >= 64
            assert not record.compressed


def test_the_map_covers_every_byte_once(saved):
    spans = byte_map(read_archive(saved))
    assert spans[0].start == 0
    assert spans[-1].stop == saved.stat().st_size
    assert all(left.stop == right.start for left, right in pairwise(spans))
    assert {span.kind for span in spans} == {"header", "padding", "pickle", "other", "tensor"}


def test_it_imports_and_calls_nothing(tmp_path):
    marker = tmp_path / "marker"

    class Touches:
        def __reduce__(self):
            return Path.touch, (marker,)

    torch.save({"x": Touches(), "w": torch.ones(1)}, tmp_path / "hostile.pt")
    archive = read_archive(tmp_path / "hostile.pt")
    assert "pathlib.PosixPath" in archive.globals or "pathlib._local.PosixPath" in archive.globals
    assert list(archive.tensors) == ["w"]
    assert not marker.exists()


def test_a_class_that_is_gone_does_not_matter(tmp_path, monkeypatch):
    (tmp_path / "gone_module.py").write_text("from torch import nn\nclass Net(nn.Linear): pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    from gone_module import Net

    torch.save(Net(2, 3), tmp_path / "whole.pt")
    monkeypatch.delitem(sys.modules, "gone_module")
    (tmp_path / "gone_module.py").unlink()
    archive = read_archive(tmp_path / "whole.pt")
    assert "gone_module.Net" in archive.globals
    assert [info.shape for info in archive.tensors.values()] == [(3, 2), (3,)]
    assert all(info.requires_grad for info in archive.tensors.values())


def test_tied_tensors_share_a_record_and_summarize_says_so(tmp_path):
    state = TiedAutoencoder(code=4).state_dict()
    torch.save(state, tmp_path / "tied.pt")
    tensors = read_archive(tmp_path / "tied.pt").tensors
    assert tensors["encoder.weight"].record == tensors["decoder_weight"].record
    rows = {row[0]: row for row in summarize(state).rows}
    assert rows["encoder.weight"][5] == "decoder_weight"
    assert rows["encoder.weight"][4] == rows["decoder_weight"][4]
    assert rows["encoder.bias"][5] == ""
    assert rows["encoder.weight"][1:4] == ["(4, 64)", "float32", "1,024"]


def test_summarize_shows_what_is_not_a_tensor():
    assert summarize({"_extra_state": {"calls": 3}}).rows == [
        ["_extra_state", "", "dict", "", "", ""]
    ]


def test_a_slice_reads_only_its_own_bytes(tmp_path):
    whole = torch.arange(1000)
    torch.save({"part": whole[10:12]}, tmp_path / "slice.pt")
    archive = read_archive(tmp_path / "slice.pt")
    info = archive.tensors["part"]
    assert (info.nbytes, info.storage_nbytes, info.span) == (16, 8000, 2)
    assert read_tensors(archive, ["part"])["part"].tolist() == [10, 11]


def test_device_tags_are_read_without_the_device():
    path = Path(__file__).parents[2] / "notebooks" / "data" / "saved_on_gpu.pt"
    devices = {info.device for info in read_archive(path).tensors.values()}
    assert any(device.startswith("cuda") for device in devices)


def test_meta_tensors_have_no_record(tmp_path):
    torch.save({"m": torch.empty(2, 3, device="meta")}, tmp_path / "meta.pt")
    archive = read_archive(tmp_path / "meta.pt")
    assert archive.tensors["m"].record is None
    assert read_tensors(archive, ["m"])["m"].is_meta


def test_optional_parts_of_parameters_and_subclasses_are_found(tmp_path):
    torch.save({"p": nn.Parameter(torch.ones(2), requires_grad=False)}, tmp_path / "p.pt")
    assert read_archive(tmp_path / "p.pt").tensors["p"].requires_grad is False


def test_a_flipped_byte_is_found_and_named(saved):
    record = read_archive(saved).records["data/0"]
    flip(saved, record.offset + 5)
    archive = read_archive(saved)
    with pytest.raises(DamagedCheckpointError, match=r"data/0 \(tensor model.features.1.weight\)"):
        read_tensors(archive, ["model.features.1.weight"])
    read_tensors(archive, ["model.features.1.bias"])
    read_tensors(archive, ["model.features.1.weight"], verify=False)


def test_a_flipped_byte_in_the_pickle_is_found(saved):
    flip(saved, read_archive(saved).records["data.pkl"].offset + 40)
    with pytest.raises(DamagedCheckpointError, match=r"data\.pkl: its bytes have changed"):
        read_archive(saved)


def test_truncation_is_damage(saved):
    whole = saved.read_bytes()
    for keep in range(64, len(whole), len(whole) // 20):
        saved.write_bytes(whole[:keep])
        with pytest.raises(DamagedCheckpointError, match="checkpoint"):
            read_archive(saved)


def test_a_record_that_ends_beyond_the_file_is_damage(saved):
    data = bytearray(saved.read_bytes())
    entry = data.find(b"checkpoint/data/0", data.find(b"PK\x01\x02")) - 46  # in the directory
    struct.pack_into("<II", data, entry + 20, 2**31, 2**31)
    saved.write_bytes(data)
    with pytest.raises(
        DamagedCheckpointError, match="records checkpoint/data/0 and checkpoint/data/1 overlap"
    ):
        read_archive(saved)


def test_duplicate_records_are_refused(saved):
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(saved, "a") as archive:
        archive.writestr("checkpoint/data/0", b"other")
    with pytest.raises(DamagedCheckpointError, match="two records are called checkpoint/data/0"):
        read_archive(saved)


def make(kind, folder):
    path = folder / "file.pt"
    if kind == "empty":
        path.touch()
    elif kind == "text":
        path.write_text("epoch 3, accuracy 0.93")
    elif kind == "folder":
        path.mkdir()
    elif kind == "other zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("readme.txt", "hello")
    elif kind == "exported program":
        program = torch.export.export(nn.Linear(2, 2), (torch.ones(1, 2),))
        torch.export.save(program, folder / "program.pt2")
        path = folder / "program.pt2"
    return path


@pytest.mark.parametrize(
    ("kind", "error", "words"),
    [
        ("missing", MissingCheckpointError, "no such file"),
        ("empty", NotACheckpointError, "is empty"),
        ("text", NotACheckpointError, "begins with b'epoch 3"),
        ("folder", NotACheckpointError, "is a folder"),
        ("other zip", NotACheckpointError, r"without data\.pkl"),
        ("exported program", UnsupportedCheckpointError, "exported program"),
    ],
)
def test_what_is_no_checkpoint_is_called_by_its_name(tmp_path, kind, error, words):
    path = make(kind, tmp_path)
    with pytest.raises(error, match=words) as caught:
        read_archive(path)
    assert path.name in str(caught.value)


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")
def test_torchscript_is_called_by_its_name(tmp_path):
    path = tmp_path / "script.pt"
    torch.jit.save(torch.jit.script(nn.Linear(2, 2)), path)
    with pytest.raises(UnsupportedCheckpointError, match="TorchScript"):
        read_archive(path)


def test_references_that_multiply_are_refused(tmp_path):
    node = [torch.ones(1)]
    for _ in range(40):
        node = [node, node]
    torch.save(node, tmp_path / "bomb.pt")
    with pytest.raises(CheckpointError, match="multiply"):
        read_archive(tmp_path / "bomb.pt")


def test_a_shared_dictionary_is_listed_under_both_names(tmp_path):
    state = {"w": torch.ones(1)}
    torch.save({"last": state, "best": state}, tmp_path / "twice.pt")
    assert list(read_archive(tmp_path / "twice.pt").tensors) == ["last.w", "best.w"]


def test_a_file_of_gigabytes_is_listed_without_reading_its_data(tmp_path):
    path = tmp_path / "large.pt"
    torch.save({"w": torch.ones(8)}, path)
    before = reads_of_this_process()
    read_archive(path)
    small = reads_of_this_process() - before
    with torch.serialization.skip_data():  # leaves a hole where the data would be
        torch.save({"w": torch.empty(2**29)}, path)
    before = reads_of_this_process()
    assert read_archive(path).tensors["w"].nbytes == 2**31
    assert reads_of_this_process() - before < small + 4096


def reads_of_this_process():
    counters = Path("/proc/self/io")
    if not counters.exists():
        pytest.skip("only Linux counts the bytes a process reads")
    return int(counters.read_text().split()[1])


def flip(path, position):
    data = bytearray(path.read_bytes())
    data[position] ^= 0x10
    path.write_bytes(data)


def saved_pickle(root, path):
    """Write a checkpoint whose pickle is given as bytes."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("file/data.pkl", root)
        archive.writestr("file/version", b"3\n")


@pytest.mark.parametrize("nodes", [2000, 20_000])
@pytest.mark.parametrize(
    "bomb",
    [
        # A list of 2,000 numbers, referred to again and again.
        lambda n: b"(lq\x01(" + b"K\x01" * 2000 + b"e0](" + b"h\x01" * n + b"e.",
        # Lists under a key of 4,000 characters, each a path of its own.
        lambda n: b"}X\xa0\x0f\0\0" + b"k" * 4000 + b"](" + b"]]a" * n + b"es.",
    ],
)
def test_small_files_cannot_ask_for_much_work(tmp_path, bomb, nodes):
    saved_pickle(b"\x80\x02" + bomb(nodes), tmp_path / "bomb.pt")
    assert read_archive(tmp_path / "bomb.pt").tensors == {}


TENSOR = (
    b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000"
    b"X\x03\0\0\0cpuK\x00tQK\x00K\x00\x85K\x01\x85\x89NtR"
)


@pytest.mark.parametrize("depth", [20, 200])
def test_tensors_cannot_be_multiplied_without_end(tmp_path, depth):
    """Lists in lists, each twice in the one around it: a tensor with millions of names."""
    doubled = b"".join(
        b"](h" + bytes([n]) + b"h" + bytes([n]) + b"eq" + bytes([n + 1]) for n in range(1, depth)
    )
    saved_pickle(b"\x80\x02" + TENSOR + b"q\x01" + doubled + b".", tmp_path / "bomb.pt")
    with pytest.raises(UnsupportedCheckpointError, match="multiply"):
        read_archive(tmp_path / "bomb.pt")


def test_settings_that_are_referred_to_a_thousand_times_are_no_bomb(tmp_path):
    settings = {"lr": 0.1, "nested": [{"a": 1}, {"b": 2}]}
    state = {f"layer{n}": {"settings": settings, "w": torch.ones(1)} for n in range(2000)}
    torch.save(state, tmp_path / "shared.pt")
    assert len(read_archive(tmp_path / "shared.pt").tensors) == 2000


def test_tensors_in_tensors_in_tensors_are_refused(tmp_path):
    wrap = b"ctorch._utils\n_rebuild_parameter\n"
    root = wrap * 5000 + b"N" + b"\x88N\x87R" * 5000
    saved_pickle(b"\x80\x02" + root + b".", tmp_path / "deep.pt")
    with pytest.raises(UnsupportedCheckpointError, match="makes no sense"):
        read_archive(tmp_path / "deep.pt")


@pytest.mark.filterwarnings("ignore")
def test_a_summary_of_tensors_without_one_storage():
    parts = [torch.ones(2), torch.ones(3)]
    table = summarize(
        {
            "coo": torch.eye(2).to_sparse(),
            "csr": torch.eye(2).to_sparse_csr(),
            "strided": torch.nested.nested_tensor(parts, layout=torch.strided),
            "jagged": torch.nested.nested_tensor(parts, layout=torch.jagged),
            "plain": parts[0],
        }
    )
    assert [row[1:5] for row in table.rows] == [
        ["(2, 2)", "float32 (sparse_coo)", "", ""],
        ["(2, 2)", "float32 (sparse_csr)", "", ""],
        ["", "float32 (nested)", "", ""],
        ["", "float32 (nested)", "", ""],
        ["(2,)", "float32", "8", "0"],
    ]
