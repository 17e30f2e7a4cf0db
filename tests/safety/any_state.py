"""Strategies of Hypothesis: states of any tensors, and files of any form that torch reads."""

import io
import zipfile
from collections import OrderedDict
from pickle import UnpicklingError

import torch
from hypothesis import assume
from hypothesis import strategies as st
from torch import Tensor, nn

from course_utils.anatomy import read_archive

DTYPES = [
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex64, torch.complex128,
    torch.complex32, torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool,
    torch.uint16, torch.uint32, torch.uint64, torch.float8_e4m3fn, torch.float8_e5m2,
    torch.float8_e4m3fnuz, torch.float8_e5m2fnuz,
    *([torch.float8_e8m0fnu] if hasattr(torch, "float8_e8m0fnu") else []),  # since 2.7
]  # fmt: skip
# torch keeps no dtype with the storages of these, so it does not turn their bytes round.
UNTYPED = (torch.uint16, torch.uint32, torch.uint64, torch.complex32)


@st.composite
def memories(draw):
    """Elements of any bits, of up to three dimensions, none of them or all of length 0 too."""
    dtype = draw(st.sampled_from(DTYPES))
    shape = draw(st.lists(st.integers(0, 4), max_size=3))
    size = torch.empty((), dtype=dtype).element_size()
    count = size
    for length in shape:
        count *= length
    data = bytearray(draw(st.binary(min_size=count, max_size=count)) or b"\0" * 16)[: count or 16]
    elements = torch.frombuffer(data, dtype=torch.uint8).clone()
    if dtype == torch.bool:
        elements %= 2
    elements = elements.view(dtype)
    return elements[:0].view(shape) if 0 in shape else elements.view(shape)


WAYS = ["turn", "part", "steps", "one", "expand", "new", "conj", "neg"]


@st.composite
def views(draw, base):
    """What shows a memory, or a part of it, in another way."""
    found = base
    for _ in range(draw(st.integers(0, 3))):
        way = draw(
            st.sampled_from(["turn", "part", "steps", "one", "expand", "new", "conj", "neg"])
        )
        axis = draw(st.integers(0, max(0, found.dim() - 1)))
        if way == "new":
            found = found.unsqueeze(axis)
        elif way == "conj" and found.is_complex():
            found = found.conj()
        elif way == "neg" and found.is_complex() and found.dtype != torch.complex32:
            found = found.conj().imag if draw(st.booleans()) else found.imag
        elif way == "expand" and found.numel() * found.element_size() <= 128:
            found = found.unsqueeze(0).expand(3, *found.shape)
        elif not found.dim():
            continue
        elif way == "turn":
            found = found.transpose(0, axis)
        elif way == "part":
            start = draw(st.integers(0, found.shape[axis]))
            found = found.narrow(axis, start, draw(st.integers(0, found.shape[axis] - start)))
        elif way == "steps":
            found = found[(slice(None),) * axis + (slice(None, None, 2),)]
        elif way == "one" and found.shape[axis]:
            found = found.select(axis, draw(st.integers(0, found.shape[axis] - 1)))
    return found


@st.composite
def dressed(draw, tensor):
    """A tensor as it is, as a parameter or buffer, or with an attribute."""
    way = draw(st.sampled_from(["bare", "bare", "parameter", "buffer", "attribute"]))
    trained = tensor.is_floating_point() or tensor.is_complex()
    if way == "parameter":
        tensor = nn.Parameter(tensor, requires_grad=trained and draw(st.booleans()))
    elif way == "buffer":
        tensor = nn.Buffer(tensor)
    if way == "attribute" or (way == "parameter" and draw(st.booleans())):
        tensor.note = draw(st.sampled_from(["kept", {"a": [1]}, torch.ones(1)]))
    return tensor


def _others():
    """Tensors that are listed and not read."""
    dense = torch.tensor([[0.0, 2.0], [3.0, 0.0]])
    parts = [torch.ones(2), torch.ones(3)]
    per_channel = (torch.ones(2), torch.zeros(2), 0, torch.qint8)
    return {
        "sparse_coo": lambda: dense.to_sparse(), "sparse_csr": lambda: dense.to_sparse_csr(),
        "sparse_csc": lambda: dense.to_sparse_csc(),
        "sparse_bsr": lambda: dense.to_sparse_bsr((1, 1)),
        "sparse_bsc": lambda: dense.to_sparse_bsc((1, 1)),
        "quantized": lambda: torch.quantize_per_tensor(dense, 0.5, 1, torch.quint8),
        "quantized by channels": lambda: torch.quantize_per_channel(dense, *per_channel),
        "nested tensor": lambda: torch.nested.nested_tensor(parts, layout=torch.strided),
        "meta": lambda: torch.ones(3, device="meta"),
    }  # fmt: skip


OTHERS = _others()


@st.composite
def states(draw):
    """A state: containers in each other, with tensors that may share memory, and values."""
    bases = draw(st.lists(memories(), min_size=1, max_size=3))
    tensors = []
    for _ in range(draw(st.integers(1, 4))):
        tensors.append(draw(dressed(draw(views(draw(st.sampled_from(bases)))))))
    if draw(st.integers(0, 4)) == 0:
        kind = draw(st.sampled_from(sorted(OTHERS)))
        tensors.append(OTHERS[kind]())
    values = st.sampled_from([None, 1, 2**70, 0.5, "x", b"\xff", 1j, {3}, torch.Size([2])])
    leaves = [*tensors, *draw(st.lists(values, max_size=2))]
    if draw(st.booleans()):
        leaves.append(leaves[0])  # the very same again
    while len(leaves) > 1:
        count = draw(st.integers(1, len(leaves)))
        leaves = [draw(containers(leaves[:count])), *leaves[count:]]
        if isinstance(leaves[0], dict | list | tuple) and draw(st.booleans()):
            break
    return leaves[0] if len(leaves) == 1 else {f"top{i}": leaf for i, leaf in enumerate(leaves)}


@st.composite
def containers(draw, items):
    """A container of these items."""
    kind = draw(st.sampled_from([dict, OrderedDict, list, tuple]))
    if kind in (list, tuple):
        return kind(items)
    names = draw(st.sampled_from(["w{}", "a.b{}", "{}", "größe {}", "module.w{}", "int"]))
    keys = [i if names == "int" else names.format(i) for i in range(len(items))]
    return kind(zip(keys, items, strict=True))


def save(state, path, form):
    """Write a state in one of `FORMS`; what torch itself cannot write is no example."""
    try:
        _SAVED[form](state, path)
    except (AttributeError, RuntimeError, NotImplementedError, TypeError):
        assume(False)


def flat(value, name=""):
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, dict | list | tuple):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            yield from flat(item, f"{name}.{key}" if name else str(key))


def as_torch_loads(path):
    """Return the tensors of a file by name; what torch itself cannot load is no example."""
    try:
        return dict(flat(torch.load(path, weights_only=True)))
    except (AttributeError, RuntimeError, UnpicklingError):  # dtypes, and bytes of protocol 3
        assume(False)


def _legacy(state, path):
    assume(not any(tensor.is_nested for _, tensor in flat(state)))  # torch misreads them there
    torch.save(state, path, _use_new_zipfile_serialization=False)


def _without_checksums(state, path):
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(state, path)
    finally:
        torch.serialization.set_crc32_options(True)


def _packed(state, path):
    torch.save(state, path)
    _rewrite(path, lambda name, data: data, zipfile.ZIP_DEFLATED)


def _big_endian(state, path):
    torch.save(state, path)
    dtypes = {getattr(torch, info.dtype) for info in read_archive(path).tensors.values()}
    assume(dtypes.isdisjoint(UNTYPED))
    turn_round(path)


def turn_round(path):
    """Make of a file what a machine of the other byte order would have written."""
    parts = {}
    for info in read_archive(path).tensors.values():
        dtype = getattr(torch, info.dtype)
        if info.record:
            parts[info.record] = info.itemsize // (2 if dtype.is_complex else 1)

    def turned(name, data):
        if name == "byteorder":
            return b"big"
        step = parts.get(name, 1)
        return b"".join(data[i : i + step][::-1] for i in range(0, len(data), step))

    _rewrite(path, turned)


def _rewrite(path, change, method=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(buffer, "w", method) as new:
        for name in old.namelist():
            new.writestr(name, change(name.partition("/")[2], old.read(name)))
    path.write_bytes(buffer.getvalue())


_SAVED = {
    "zip": torch.save,
    "protocol 3": lambda state, path: torch.save(state, path, pickle_protocol=3),
    "legacy": _legacy,
    "without checksums": _without_checksums,
    "packed": _packed,
    "big-endian": _big_endian,
}
FORMS = sorted(_SAVED)
