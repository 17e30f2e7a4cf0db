"""Whatever differs is found, what is the same is called so, and what is unknown is neither."""

import argparse
import datetime
import pathlib
from collections import Counter, OrderedDict, defaultdict

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from course_utils.ckpt.diff import ASPECTS, diff
from course_utils.formats import elements
from course_utils.safety.convert import convert


@pytest.fixture
def compare(tmp_path):
    def compare(one, two, **options):
        for name, state in (("a.pt", one), ("b.pt", two)):
            torch.save(state, tmp_path / name)
        return diff(tmp_path / "a.pt", tmp_path / "b.pt", **options)

    return compare


class Sub(torch.Tensor):
    pass


def having(tensor, **attributes):
    for name, value in attributes.items():
        setattr(tensor, name, value)
    return tensor


def sparse(size=3, value=1.0):
    return torch.sparse_coo_tensor([[0, 1], [1, 0]], [value, 2.0], (size, size))


def shared(value):
    return [value, value]


def quantized(scale):
    return torch._make_per_tensor_quantized_tensor(torch.ones(2, dtype=torch.uint8), scale, 0)


def quantized_by_channel(scale):
    codes, zeros = torch.ones(2, 3, dtype=torch.uint8), torch.zeros(2).long()
    return torch._make_per_channel_quantized_tensor(codes, torch.tensor([0.1, scale]), zeros, 0)


x, twos = torch.arange(6.0), torch.full((9,), 2.0)
PAIRS = {
    "sparse size": (sparse(3), sparse(4)),
    "sparse value": (sparse(), sparse(value=5.0)),
    "coalesced": (sparse().coalesce(), sparse()),
    "csr": (torch.eye(3).to_sparse_csr(), (2 * torch.eye(3)).to_sparse_csr()),
    "attribute": (having(torch.ones(2), s=torch.ones(3)), having(torch.ones(2), s=torch.zeros(3))),
    "number as attribute": (having(torch.ones(2), s=1), having(torch.ones(2), s=2)),
    "attribute or not": (having(torch.ones(2), s=1), torch.ones(2)),
    "parameter's attribute": (
        having(nn.Parameter(torch.ones(2)), s=1), having(nn.Parameter(torch.ones(2)), s=2)
    ),
    "subclass": (torch.ones(2).as_subclass(Sub), torch.ones(2)),
    "requires_grad": (torch.ones(2), torch.ones(2, requires_grad=True)),
    "parameter": (torch.ones(2), nn.Parameter(torch.ones(2), requires_grad=False)),
    "stride": (torch.ones(2, 2), torch.ones(2, 2).t()),
    "meta": (torch.ones(2), torch.ones(2, device="meta")),
    "meta's gradient": (torch.ones(2, device="meta"),
                        torch.ones(2, device="meta", requires_grad=True)),
    "sharing": (shared(torch.ones(2)), [torch.ones(2), torch.ones(2)]),
    "sharing less": ([torch.ones(2), torch.ones(2)], shared(torch.ones(2))),
    "sharing elsewhere": ([x[:2], x[2:4]], [x[:2], (x - 2)[4:]]),
    "another part of one memory": ([twos[:2], twos[2:4]], [twos[:2], twos[3:5]]),
    "one object": (shared({"a": 1}), [{"a": 1}, {"a": 1}]),
    "storage": (x.untyped_storage(), (x + 1).untyped_storage()),
    "storage's size": (x.untyped_storage(), torch.arange(5.0).untyped_storage()),
    "conjugate": (torch.tensor([1j]).conj(), torch.tensor([1j])),
    "negative": (torch._neg_view(torch.ones(2)), torch.ones(2)),
    "bytes": (b"a", b"b"),
    "long bytes": (b"a" * 99 + b"a", b"a" * 99 + b"b"),
    "bytearray": (bytearray(b"a"), bytearray(b"b")),
    "set": ({1}, {2}),
    "set of booleans": ({1}, {True}),
    "frozenset": (frozenset({1}), {1}),
    "complex": (1j, 2j),
    "numpy array": (np.arange(3), np.arange(3) + 1),
    "numpy's dtype": (np.arange(3), np.arange(3.0)),
    "numpy scalar": (np.float64(1), np.float64(2)),
    "tuple or list": ((1, 2), [1, 2]),
    "empty dict or list": ({}, []),
    "order": ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    "kind of key": ({1: "x"}, {"1": "x"}),
    "boolean key": ({1: "x"}, {True: "x"}),
    "1 and True": (1, True),
    "1 and 1.0": (1, 1.0),
    "1 and '1'": (1, "1"),
    "minus zero": (0.0, -0.0),
    "minus zero in a tensor": (torch.tensor([0.0]), torch.tensor([-0.0])),
    "None": (None, False),
    "OrderedDict": ({"t": 1}, OrderedDict(t=1)),
    "defaultdict": (defaultdict(list, a=1), defaultdict(list, a=2)),
    "default": (defaultdict(list, a=1), defaultdict(set, a=1)),
    "dtype": (torch.float32, torch.float16),
    "device": (torch.device("cpu"), torch.device("cuda:0")),
    "size": (torch.Size([2]), torch.Size([3])),
    "size or tuple": (torch.Size([2]), (2,)),
    "counter": (Counter("a"), Counter("bb")),
    "namespace": (argparse.Namespace(lr=1), argparse.Namespace(lr=2)),
    "path": (pathlib.PurePosixPath("/a"), pathlib.PurePosixPath("/b")),
    "date": (datetime.datetime(2025, 1, 1), datetime.datetime(2026, 1, 1)),
    "big integer": (10**5000, 10**5000 + 1),
    "length": ([1, 2], [1]),
    "quantizer": (quantized(0.1), quantized(0.2)),
    "a scale of a channel": (quantized_by_channel(0.2), quantized_by_channel(0.3)),
    "nested": tuple(torch.nested.nested_tensor([torch.ones(2), torch.ones(n)]) for n in (3, 4)),
    "jagged": tuple(
        torch.nested.nested_tensor([torch.ones(2), torch.ones(n)], layout=torch.jagged)
        for n in (3, 4)
    ),
    "function": (torch.add, torch.mul),
    "versions": tuple(nn.BatchNorm1d(2 + 0 * n).state_dict() for n in (0, 1)),
}  # fmt: skip
PAIRS["versions"][1]._metadata[""]["version"] = 1


@pytest.mark.parametrize("name", PAIRS)
def test_what_differs_is_found_and_what_is_the_same_is_not(compare, name):
    one, two = PAIRS[name]
    around = torch.ones(1)
    found = compare({"v": one, "t": around}, {"v": two, "t": around})
    assert not found.same
    assert "not compared" not in {change.what for change in found.changes}
    assert all(change.name.startswith("v") for change in found.changes)
    for value in (one, two):
        assert compare({"v": value, "t": around}, {"v": value, "t": around}).same


def test_a_tensor_counts_at_each_of_its_places(compare):
    one = torch.ones(1)
    assert compare(state := {"a": one, "b": [one, one.clone()]}, state).tensors == 3


IGNORED = {
    "order": "order", "stride": "layout", "conjugate": None, "sharing": "sharing",
    "one object": "sharing", "requires_grad": "requires_grad", "parameter": "class",
    "attribute": "attributes", "number as attribute": "attributes",
}  # fmt: skip


@pytest.mark.parametrize("name", [name for name, aspect in IGNORED.items() if aspect])
def test_what_plays_no_part_is_said(compare, name):
    one, two = ({"v": value} for value in PAIRS[name])
    found = compare(one, two, ignore=[IGNORED[name]])
    assert found.same
    assert found.headline.endswith(f"(not compared: {IGNORED[name]})")
    others = set(ASPECTS) - {IGNORED[name]}
    assert not compare(one, two, ignore=others).same


def test_devices(compare, monkeypatch):
    one = torch.ones(2)
    monkeypatch.setattr(torch.serialization, "location_tag", lambda s: f"cuda:{s.nbytes() // 8}")
    found = compare({"w": one}, {"w": torch.ones(4)[:2]})
    assert [(c.name, c.what, c.detail) for c in found.changes] == [
        ("w", "device", "cuda:1 and cuda:2")
    ]
    assert compare({"w": one}, {"w": torch.ones(4)[:2]}, ignore=["device"]).same


def test_bits_in_blocks(compare, monkeypatch):
    monkeypatch.setattr(elements, "BLOCK", 64)
    one = torch.arange(100.0)
    two = one.clone()
    two[99] = float("nan")
    state = {"w": one, "z": torch.tensor([0.0]), "t": one.view(10, 10).T, "n": two, "e": x[:0]}
    changed = {"w": two, "z": torch.tensor([-0.0]), "t": one.view(10, 10).T.contiguous(), "n": two,
               "e": x[:0]}  # fmt: skip
    found = compare(state, changed, ignore=["layout", "sharing"])
    found = {c.name: (c.detail, c.largest) for c in found.changes}
    assert found == {
        "w": ("1 of 100", pytest.approx(float("nan"), nan_ok=True)), "z": ("1 of 1", 0.0)
    }  # fmt: skip


def test_gaps_between_elements_are_no_elements(compare):
    one, gap, last = (torch.arange(8.0) for _ in range(3))
    gap[1] = last[6] = 9
    assert compare({"w": one[::2]}, {"w": gap[::2]}).same
    (change,) = compare({"w": one[::2]}, {"w": last[::2]}).changes
    assert (change.detail, change.largest) == ("1 of 4", 3.0)


def test_the_words(compare):
    one = {"a": 1, "w": torch.ones(2), "m": {"x": [torch.ones(3)], "k": "v"}, 7: 0}
    two = {"a": 2, "w": torch.tensor([1.0, 3.0]), "7": 0, "list": list(range(9))}
    found = compare(one, two)
    assert [(c.name, c.what, c.detail, c.largest) for c in found.changes] == [
        ("a", "value", "1 and 2", None),
        ("w", "elements", "1 of 2", 2.0),
        ("m.x.0", "only in the first", "float32 (3,)", None),
        ("m.k", "only in the first", "'v'", None),
        ("7", "only in the first", "0, under a key that is int", None),
        ("7", "only in the second", "0", None),
        ("list", "only in the second", "[0, 1, 2, 3, … (9)]", None),
    ]
    assert "7 differences" in found.headline
    assert str(found.table).splitlines()[2].split() == ["w", "elements", "1", "of", "2", "2"]


def test_a_change_is_named_at_every_place_of_a_tensor(compare):
    one, two = torch.zeros(2), torch.ones(2)
    found = compare({"a": one, "b": one}, {"a": two, "b": two})
    assert [c.name for c in found.changes] == ["a", "b"]


def test_what_cannot_be_compared_is_not_called_the_same(compare):
    state = {"s": {torch.ones(2)}, torch.ones(1): 1}
    found = compare(state, state)
    assert {c.what for c in found.changes} == {"not compared"}
    assert not found.same
    assert found.headline.startswith("no difference found, but")


def test_references_that_multiply_are_walked_once(compare):
    tree: list = [1]
    for _ in range(60):
        tree = [tree, tree]
    assert compare(tree, tree).same


def test_a_cycle(compare):
    one: dict = {"a": 1}
    one["me"] = one
    assert compare(one, one).same


def test_protocols_that_write_the_same_differently(tmp_path):
    state = {"b": b"a", "s": {1}, "t": torch.ones(2), "d": datetime.date(2026, 1, 2)}
    for protocol in (2, 4):
        torch.save(state, tmp_path / f"{protocol}.pt", pickle_protocol=protocol)
    assert diff(tmp_path / "2.pt", tmp_path / "4.pt").same


def test_byte_order(tmp_path):
    state = {"w": torch.arange(4.0), "h": torch.arange(3).half()}
    torch.save(state, tmp_path / "a.pt")
    with torch.utils.serialization.config.patch("save.storage_alignment", 64):
        torch.save(state, tmp_path / "b.pt")
    assert diff(tmp_path / "a.pt", tmp_path / "b.pt").same


def test_tensors_only_across_formats(tmp_path):
    weight = torch.rand(3, 4)
    state = {"m": {"a": weight.T, "b": nn.Parameter(weight), "tied": weight}, "epoch": 3}
    torch.save(state, tmp_path / "a.pt")
    convert(tmp_path / "a.pt", tmp_path / "a.safetensors")
    found = diff(tmp_path / "a.pt", tmp_path / "a.safetensors", tensors_only=True)
    assert found.same
    assert found.headline.startswith("the same tensors, to the last bit: 3 tensors (not")
    whole = diff(tmp_path / "a.pt", tmp_path / "a.safetensors")
    assert ("(all values)", "not compared") in {(c.name, c.what) for c in whole.changes}
    weight[0, 0] += 1
    torch.save(state, tmp_path / "b.pt")
    found = diff(tmp_path / "b.pt", tmp_path / "a.safetensors", tensors_only=True)
    assert {(c.name, c.what) for c in found.changes} == {
        ("m.a", "elements"), ("m.b", "elements"), ("m.tied", "elements")
    }  # fmt: skip


def test_tensors_only_sees_others_and_lost_ones(compare, tmp_path):
    state = {"s": sparse(), "q": PAIRS["quantizer"][0], "n": 1}
    assert compare(state, state | {"n": 2}, tensors_only=True).same
    for other in ({"s": sparse(4)}, {"s": sparse(value=3.0)}, {"q": PAIRS["quantizer"][1]}):
        assert not compare(state, state | other, tensors_only=True).same
    found = compare({"s": sparse()}, {}, tensors_only=True)
    assert {c.what for c in found.changes} == {"only in the first"}
    found = compare({"a": {"b": x}, "a.b": x}, {"a": {"b": x}, "a.b": x}, tensors_only=True)
    assert {c.what for c in found.changes} == {"not compared"}


KEYS = [
    (b"k", b"j"),
    (b"k" * 70 + b"1", b"k" * 70 + b"2"),
    (torch.device("cpu"), torch.device("cuda")),
    (datetime.date(2020, 1, 1), datetime.date(2021, 1, 1)),
    (frozenset(["a"]), frozenset(["b"])),
    (("a", b"b"), ("a", b"c")),
    (("a" * 70 + "1",), ("a" * 70 + "2",)),
    ((1, (2, 3)), (1, (2, 4))),
    (("a" * 2000 + "1",), ("a" * 2000 + "2",)),
    (1j, 2j),
    (2**70, 2**71),
    (torch.Size([1]), torch.Size([2])),
    (pathlib.PurePosixPath("a"), pathlib.PurePosixPath("b")),
]


@pytest.mark.parametrize(("one", "two"), KEYS)
def test_tensors_under_other_keys_are_not_the_same(compare, one, two, tmp_path):
    found = compare({one: x}, {two: x}, tensors_only=True)
    assert {c.what for c in found.changes} == {"only in the first", "only in the second"}
    assert compare({one: x, two: x + 1}, {two: x + 1, one: x}, tensors_only=True).same
    convert(tmp_path / "a.pt", tmp_path / "a.safetensors")
    assert diff(tmp_path / "a.pt", tmp_path / "a.safetensors", tensors_only=True).same


def test_a_key_of_bytes_has_one_name_in_all_protocols(tmp_path):
    for protocol in (2, 4):
        torch.save({b"k": x}, tmp_path / f"{protocol}.pt", pickle_protocol=protocol)
    assert diff(tmp_path / "2.pt", tmp_path / "4.pt", tensors_only=True).same


def test_safetensors_against_safetensors(tmp_path):
    save_file({"w": x}, tmp_path / "a", metadata={"k": "1"})
    save_file({"w": x}, tmp_path / "b", metadata={"k": "2"})
    assert diff(tmp_path / "a", tmp_path / "a").same
    (change,) = diff(tmp_path / "a", tmp_path / "b").changes
    assert (change.name, change.detail) == ("__metadata__.k", "'1' and '2'")


def test_an_unknown_aspect():
    with pytest.raises(ValueError, match="ordr"):
        diff("a", "b", ignore=["ordr"])


@pytest.mark.parametrize("place", ["all of it", "a part"])
def test_a_pickled_module_and_its_own_convert_output_are_the_same_tensors(tmp_path, place):
    module = nn.LSTM(3, 4)  # it keeps a list of its weights, which is in no state_dict
    torch.save(
        module if place == "all of it" else {"m": module, "n": torch.ones(2)}, tmp_path / "a"
    )
    for out in ("a.safetensors", "a.pt"):
        convert(tmp_path / "a", tmp_path / out, only=["*"])
        found = diff(tmp_path / "a", tmp_path / out, tensors_only=True)
        assert found.same
        assert "what is no parameter or persistent buffer" in str(found)
        assert found.tensors == 4 + (place == "a part")
    with torch.no_grad():
        module.weight_ih_l0[0, 0] += 1
    torch.save(
        module if place == "all of it" else {"m": module, "n": torch.ones(2)}, tmp_path / "b"
    )
    (change,) = diff(tmp_path / "b", tmp_path / "a.pt", tensors_only=True).changes
    assert change.name.endswith("weight_ih_l0")
    assert not diff(tmp_path / "b", tmp_path / "a", tensors_only=True).same
