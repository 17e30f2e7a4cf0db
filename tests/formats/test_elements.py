"""Elements are what torch loads, whatever bits, strides and byte orders the file has."""

import sys
import warnings
import zipfile

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from course_utils.anatomy import read_archive, read_tensors
from course_utils.checkpoint.torch_versions import version
from course_utils.errors import (
    DamagedCheckpointError,
    UnsupportedCheckpointError,
)
from course_utils.files.contents import open_contents
from course_utils.formats import elements
from course_utils.formats.dtypes import ITEMSIZE
from course_utils.formats.elements import blocks

warnings.filterwarnings("ignore", message=r"Sparse|.*quantize|.*nested tensors")
DTYPES = [
    torch.float64, torch.float32, torch.bfloat16, torch.complex64, torch.complex128, torch.int64,
    torch.int16, torch.uint8, torch.bool, torch.float8_e4m3fn,
]  # fmt: skip


def in_order(tensor):
    """Return a tensor's bytes as `blocks` yields them."""
    dense = tensor.detach().resolve_conj().resolve_neg().contiguous().flatten().clone()
    return bytes(dense.untyped_storage().tolist()) if dense.numel() else b""


def read(path, name):
    return b"".join(blocks(open_contents(path), name))


@st.composite
def tensors(draw):
    """Views of every kind: transposed, stepped, expanded, conjugate, negative."""
    dtype = draw(st.sampled_from(DTYPES))
    shape = draw(st.lists(st.integers(0, 4), max_size=4))
    count = max(1, torch.Size(shape).numel()) * dtype.itemsize
    raw = draw(st.binary(min_size=count, max_size=count))
    if dtype == torch.bool:
        raw = bytes(byte & 1 for byte in raw)
    numel = torch.Size(shape).numel()
    tensor = torch.frombuffer(bytearray(raw), dtype=dtype)[:numel].reshape(shape)
    for _ in range(draw(st.integers(0, 3))):
        match draw(st.sampled_from(["transpose", "step", "expand", "conj", "imag"])):
            case "transpose" if tensor.dim() > 1:
                tensor = tensor.transpose(0, -1)
            case "step" if tensor.dim():
                tensor = tensor[::2]
            case "expand":
                tensor = tensor.unsqueeze(0).expand(3, *tensor.shape)
            case "conj" if tensor.is_complex():
                tensor = tensor.conj()
            case "imag" if tensor.is_complex():
                tensor = tensor.imag
    return tensor


@settings(deadline=None, max_examples=150)
@given(state=st.dictionaries(st.sampled_from("abc"), tensors(), max_size=3))
def test_elements_and_tensors_are_those_that_torch_loads(tmp_path_factory, state):
    path = tmp_path_factory.mktemp("any") / "any.pt"
    # One memory under two dtypes is more than torch.save writes: each tensor its own file's.
    for name, tensor in state.items():
        torch.save({name: tensor}, path)
        loaded = torch.load(path)[name]
        archive = read_archive(path)
        came = read_tensors(archive, [name])[name]
        assert read(path, name) == in_order(loaded)
        assert in_order(came) == in_order(loaded)
        assert (came.shape, came.dtype) == (loaded.shape, loaded.dtype)
        assert came.stride() == loaded.stride() or loaded.is_conj() or loaded.is_neg()


@pytest.mark.parametrize("dtype", [torch.float64, torch.int16, torch.complex64, torch.uint8])
def test_a_file_from_a_big_endian_machine_has_the_same_numbers(tmp_path, dtype):
    path, big = tmp_path / "little.pt", tmp_path / "big.pt"
    state = {"w": torch.arange(6).to(dtype).reshape(2, 3), "t": torch.arange(4).to(dtype)[1:]}
    torch.save(state, path)
    part = dtype.itemsize // (2 if dtype.is_complex else 1)
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(big, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if "/data/" in name:
                cells = [data[i : i + part][::-1] for i in range(0, len(data), part)]
                data = b"".join(cells)
            new.writestr(name, b"big" if name.endswith("byteorder") else data)
    assert sys.byteorder == "little"
    for name, tensor in torch.load(big).items():
        assert torch.equal(tensor, state[name])  # torch agrees
        assert read(big, name) == in_order(tensor)
        assert torch.equal(read_tensors(read_archive(big), [name])[name], tensor)


def test_an_unknown_byte_order_is_refused(tmp_path):
    path, odd = tmp_path / "a.pt", tmp_path / "odd.pt"
    torch.save({"w": torch.ones(2)}, path)
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(odd, "w") as new:
        for name in old.namelist():
            new.writestr(name, b"middle" if name.endswith("byteorder") else old.read(name))
    with pytest.raises(UnsupportedCheckpointError, match=r"as they were.*byte order is b'middle'"):
        open_contents(odd)
    odd.write_bytes(path.read_bytes().replace(b"little", b"lettle"))
    with pytest.raises(DamagedCheckpointError, match="byte order is b'lettle'"):
        open_contents(odd)


def test_large_tensors_come_in_blocks_and_the_bits_are_applied_in_each(tmp_path, monkeypatch):
    monkeypatch.setattr(elements, "BLOCK", 64)
    tensor = torch.randn(50, dtype=torch.complex64).conj()
    torch.save({"w": tensor}, tmp_path / "a.pt")
    pieces = list(blocks(open_contents(tmp_path / "a.pt"), "w"))
    assert [len(piece) for piece in pieces] == [64] * 6 + [16]
    assert b"".join(pieces) == in_order(tensor)


class Named(torch.Tensor):
    """A subclass without anything of its own."""


def test_what_is_more_than_elements_is_described(tmp_path):
    parameter = torch.nn.Parameter(torch.ones(2))
    parameter.note = "mine"
    state = {
        "sub": torch.ones(2).as_subclass(Named),
        "parameter": parameter,
        "quantized": torch.quantize_per_tensor(torch.ones(3), 0.5, 1, torch.quint8),
    }
    torch.save(state, tmp_path / "a.pt")
    found = open_contents(tmp_path / "a.pt").tensors
    assert found["sub"].subclass.endswith(".Named")
    assert found["parameter"].attributes == {"note": "mine"}
    assert found["parameter"].requires_grad
    assert found["quantized"].dtype == "quint8"
    assert found["quantized"].quantizer[1:] == (0.5, 1)
    assert read(tmp_path / "a.pt", "quantized") == bytes(state["quantized"].int_repr().tolist())
    with pytest.raises(UnsupportedCheckpointError, match="quantized"):
        read_tensors(read_archive(tmp_path / "a.pt"), ["quantized"])


def test_a_tensor_made_of_others_is_listed_with_its_parts(tmp_path):
    rows = torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])
    state = {"sparse": torch.eye(3).to_sparse(), "csr": torch.eye(2).to_sparse_csr(), "rows": rows}
    torch.save({"inner": state, "w": torch.ones(1)}, tmp_path / "a.pt")
    contents = open_contents(tmp_path / "a.pt")
    kinds = {name: (o.kind, o.shape) for name, o in contents.others.items()}
    assert kinds == {
        "inner.sparse": ("sparse_coo", (3, 3)),
        "inner.csr": ("sparse_csr", (2, 2)),
        "inner.rows": ("nested tensor", None),
    }
    parts = {name: info.part_of for name, info in contents.tensors.items()}
    assert parts.pop("w") is None
    assert set(parts.values()) == set(kinds)
    assert len(parts) == 2 + 3 + 4


def test_every_dtype_of_torch_is_known_with_its_size():
    dtypes = {value for value in vars(torch).values() if isinstance(value, torch.dtype)}
    here = {str(d).removeprefix("torch."): d.itemsize for d in dtypes}
    assert here == {name: size for name, size in ITEMSIZE.items() if name in here}
    assert len(ITEMSIZE) - len(here) == {(2, 6): 3, (2, 13): 1}.get(version(), 0)
