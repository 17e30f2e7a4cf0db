"""All the ways of ours to get the numbers of a file, each as a function from a file to tensors."""

import any_state
import torch
from any_state import flat
from torch import nn

from course_utils.anatomy import read_archive, read_tensors
from course_utils.checkpoint import load_checkpoint
from course_utils.devices import load_into_meta
from course_utils.errors import UnsupportedCheckpointError
from course_utils.partial import plan_partial_load
from course_utils.safety import convert, load_untrusted


def same(one, two):
    if two.layout != torch.strided or two.is_nested or two.is_quantized:  # as torch gave it
        return repr(one) == repr(two)
    one, two = (t.detach().resolve_conj().resolve_neg() for t in (one, two))
    if one.is_meta:
        return two.is_meta
    if one.dtype != two.dtype or one.shape != two.shape:
        return False
    dense = (t.clone(memory_format=torch.contiguous_format).flatten() for t in (one, two))
    return torch.equal(*(t.view(torch.uint8) for t in dense))


def assert_same(found, wanted):
    assert found.keys() == wanted.keys()
    assert [name for name in wanted if not same(found[name], wanted[name])] == []


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
    any_state.save(state, folder / "flat.pt", path.name.split(".")[-2])
    load_into_meta(model.to("meta"), folder / "flat.pt")
    return {name: getattr(model, place) for place, name in model.names.items()}


READERS = [
    by_read_tensors, by_load_checkpoint, by_load_untrusted, by_convert, by_convert_to_checkpoint,
    by_partial, by_meta,
]  # fmt: skip
