"""What torch's safe loader reads, every reader of ours reads with the same numbers, or refuses.

Refusals are only those of the list in ``docs/other-files.md``.
"""

import re
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from course_utils.anatomy import read_archive, read_tensors
from course_utils.checkpoint import load_checkpoint
from course_utils.devices import load_into_meta
from course_utils.errors import CheckpointError, UnsupportedCheckpointError
from course_utils.partial import plan_partial_load
from course_utils.safety import convert, load_untrusted

pytestmark = pytest.mark.filterwarnings("ignore")

LIST = (Path(__file__).parents[2] / "docs/other-files.md").read_text()
NUMBERS = [
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex64, torch.complex128,
    torch.complex32, torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool,
]  # fmt: skip
NEWER = [
    torch.uint16, torch.uint32, torch.uint64, torch.float8_e4m3fn, torch.float8_e5m2,
    torch.float8_e4m3fnuz, torch.float8_e5m2fnuz, torch.float8_e8m0fnu,
]  # fmt: skip


def numbers(dtype, *shape):
    generator = torch.Generator().manual_seed(len(shape) + sum(shape))
    size = torch.empty((), dtype=dtype).element_size()
    data = torch.randint(0, 256, (*shape, size), dtype=torch.uint8, generator=generator)
    if dtype == torch.bool:
        data %= 2
    return data.view(dtype).reshape(shape).clone()


def layouts(dtype):
    x = numbers(dtype, 4, 6)
    return {
        "whole": x, "transposed": x.t(), "rows": x[1:3], "columns": x[:, 2:5], "steps": x[::2, ::3],
        "one": x[2, 3], "none": x[:0], "expanded": x[:1].expand(3, 6), "flat": x.view(-1)[5:],
        "parameter": nn.Parameter(x[0].clone(), requires_grad=False),
        "in": {"a.b": x[3], "c": [x[0], (x[1], {"d": x})]},
    }  # fmt: skip


def states():
    for dtype in [*NUMBERS, *NEWER]:
        yield str(dtype), layouts(dtype)
    z = torch.complex(torch.arange(12.0).view(3, 4), torch.arange(5.0, 17.0).view(3, 4))
    yield "conjugate", {"c": z.conj(), "t": z.t().conj(), "z": z, "i": z.clone().conj().imag}
    yield "module", nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)).state_dict()
    layer = nn.Linear(3, 2)
    optimizer = torch.optim.Adam(layer.parameters())
    layer(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    training = {"model": layer.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3}
    yield "training", training
    yield "values", {
        "t": torch.ones(2), "set": {1, 2}, "bytes": b"\xff\0", "complex": 1j, "none": None,
        "size": torch.Size([2]), "big": 2**70, "list": [1.5, "x", True], "od": OrderedDict(a=1),
        "dtype": torch.int8,
    }  # fmt: skip
    attributed = nn.Parameter(torch.ones(2))
    attributed.note = "kept"
    yield "parameter with an attribute", {"p": attributed}
    yield "bare tensor", torch.arange(3.0)
    yield "list", [torch.arange(3.0), torch.ones(1)]
    yield "sparse", {"t": torch.eye(3).to_sparse(), "u": torch.ones(1)}
    yield "sparse rows", {"t": torch.eye(3).to_sparse_csr()}
    yield "quantized", {"t": torch.quantize_per_tensor(torch.ones(4), 0.1, 0, torch.qint8)}
    yield "meta", {"t": torch.ones(3, device="meta")}
    yield "jagged", {"t": torch.nested.nested_tensor([torch.ones(2)], layout=torch.strided)}


def flat(value, name=""):
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, dict | list | tuple):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            yield from flat(item, f"{name}.{key}" if name else str(key))


def same(one, two):
    if two.layout != torch.strided or two.is_nested or two.is_quantized:  # as torch gave it
        return repr(one) == repr(two)
    one, two = (t.detach().resolve_conj().resolve_neg().contiguous() for t in (one, two))
    if one.is_meta:
        return two.is_meta
    if one.dtype != two.dtype or one.shape != two.shape:
        return False
    pair = (t.flatten().view(torch.uint8) for t in (one, two))
    return torch.equal(*pair)


def assert_same(found, wanted):
    assert found.keys() == wanted.keys()
    assert [name for name in wanted if not same(found[name], wanted[name])] == []


def listed(reason):
    """Whether a refusal is one of the list in the docs."""
    kinds = set(re.findall(r"`([\w ]+)`", LIST)) | {"quantized"}
    return any(re.search(rf"\b{kind}\b", reason) for kind in kinds)


class Holder(nn.Module):
    """A module with one buffer for each tensor."""

    def __init__(self, tensors):
        super().__init__()
        self.names = {f"t{i}": name for i, name in enumerate(tensors)}
        for place, name in self.names.items():
            tensor = tensors[name]
            shape = (2,) if tensor.is_nested else tensor.shape
            dtype = torch.float32 if tensor.is_quantized else tensor.dtype
            tensor = torch.zeros(shape, dtype=torch.uint8).to(dtype)
            self.register_buffer(place, tensor)


def by_read_tensors(path, _wanted, _folder):
    archive = read_archive(path)
    for other in archive.others.values():
        raise UnsupportedCheckpointError(other.kind)
    return read_tensors(archive, archive.tensors)


def by_load_checkpoint(path, _wanted, _folder):
    return dict(flat(load_checkpoint(path)))


def by_load_untrusted(path, _wanted, _folder):
    return dict(flat(load_untrusted(path)))


def by_convert(path, _wanted, folder):
    convert(path, folder / "out.safetensors")
    archive = read_archive(folder / "out.safetensors")
    names = {**{name: name for name in archive.tensors}, **archive.tree}
    found = read_tensors(archive, archive.tensors)
    return {name: found[owner] for name, owner in names.items() if owner in found}


def by_convert_to_checkpoint(path, _wanted, folder):
    convert(path, folder / "out.pt")
    return dict(flat(torch.load(folder / "out.pt", weights_only=True)))


def by_partial(path, wanted, _folder):
    model = Holder(wanted)
    places = {name: place for place, name in model.names.items()}
    plan_partial_load(model, path, rename=places.get).apply()
    return {name: getattr(model, place) for place, name in model.names.items()}


def by_meta(path, wanted, folder):
    model = Holder(wanted)
    state = {place: wanted[name] for place, name in model.names.items()}
    old = ".legacy." in path.name
    torch.save(state, folder / "flat.pt", _use_new_zipfile_serialization=not old)
    load_into_meta(model.to("meta"), folder / "flat.pt")
    return {name: getattr(model, place) for place, name in model.names.items()}


READERS = [
    by_read_tensors, by_load_checkpoint, by_load_untrusted, by_convert, by_convert_to_checkpoint,
    by_partial, by_meta,
]  # fmt: skip


REFUSED = {
    "sparse", "sparse rows", "quantized", "meta", "jagged", "torch.complex128", "torch.complex32",
}  # fmt: skip


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.__name__)
@pytest.mark.parametrize("form", ["zip", "legacy"])
def test_every_reader_gives_torchs_numbers(tmp_path, form, reader):
    outcomes = {}
    for number, (kind, state) in enumerate(states()):
        path = tmp_path / f"{number}.{form}.pt"
        torch.save(state, path, _use_new_zipfile_serialization=form == "zip")
        try:
            wanted = dict(flat(torch.load(path, weights_only=True)))
        except (AttributeError, RuntimeError):  # torch itself: newest dtypes, nested tensors
            assert form == "legacy"
            continue
        outcomes[kind] = outcome(reader, path, wanted, tmp_path / f"{number}.{form}")
    refused = {kind for kind, error in outcomes.items() if error is not None}
    assert {kind: outcomes[kind] for kind in refused if not listed(outcomes[kind])} == {}
    assert refused <= REFUSED
    assert len(outcomes) - len(refused) >= 18


def outcome(reader, path, wanted, folder):
    """Return why a reader refuses a file; None once its numbers are found to be torch's."""
    folder.mkdir()
    try:
        found = reader(path, wanted, folder)
    except CheckpointError as error:
        return str(error)
    assert_same(found, wanted)
    return None
