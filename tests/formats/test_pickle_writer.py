"""What is written reads as the same tree, and Python and torch read what was pickled at first."""

import io
import pickle
import zipfile
from collections import Counter, OrderedDict, defaultdict

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from course_utils.formats.pickle import read_pickle
from course_utils.formats.pickle_nodes import (
    APPENDED,
    Call,
    Global,
    OrderedDictNode,
    PersistentId,
    Twice,
)
from course_utils.formats.pickle_writer import UnwritableError, write_pickle
from course_utils.formats.trees import mismatch
from course_utils.resume.compare import differences


def rewritten(data):
    """Pickle bytes, read and written again."""
    tree = read_pickle(data).root
    again = write_pickle(tree)
    assert mismatch(tree, read_pickle(again).root) is None
    return again


atoms = (
    st.none() | st.booleans() | st.integers() | st.integers(-(2**3000), 2**3000)
    | st.floats(allow_nan=False) | st.text() | st.binary() | st.complex_numbers(allow_nan=False)
)  # fmt: skip
keys = st.none() | st.booleans() | st.integers(-(2**62), 2**62) | st.text() | st.binary()
values = st.recursive(
    atoms | st.frozensets(keys) | st.sets(keys),
    lambda inner: (
        st.lists(inner, max_size=5) | st.dictionaries(keys, inner, max_size=5)
        | st.lists(inner, max_size=5).map(tuple)
        | st.dictionaries(keys, inner, max_size=3).map(OrderedDict)
        | st.dictionaries(keys, inner, max_size=3).map(lambda d: defaultdict(list, d))
        | inner.map(lambda x: [x, x, (x, [x])])
    ),
    max_leaves=20,
)  # fmt: skip


@settings(deadline=None)
@given(values, st.integers(0, 5))
def test_python_reads_what_was_pickled(value, protocol):
    data = rewritten(pickle.dumps(value, protocol))
    found = pickle.loads(data)
    assert found == value
    # Equal is not enough: 1 == True == 1.0.
    assert mismatch(
        read_pickle(pickle.dumps(found, 2)).root, read_pickle(pickle.dumps(value, 2)).root
    ) is None  # fmt: skip
    assert data[:2] == b"\x80\x02"


def test_long_containers_and_many_objects():
    value = {"list": list(range(5000)), "dict": {i: [i] for i in range(2500)}, "t": (*range(9),)}
    assert pickle.loads(rewritten(pickle.dumps(value, 2))) == value


def test_one_object_stays_one_object_and_cycles_stay_cycles():
    shared, cycle = [1], {}
    cycle["me"] = [cycle, shared]
    looped: list = []
    looped.append((looped,))
    value = [shared, shared, cycle, looped[0], {"t": looped[0]}]
    found = pickle.loads(rewritten(pickle.dumps(value, 2)))
    assert found[0] is found[1] is found[2]["me"][1]
    assert found[2]["me"][0] is found[2]
    assert found[3][0][0] is found[3]
    assert found[4]["t"] is found[3]


class Holder:
    def __init__(self, inner):
        self.inner = inner

    def __reduce__(self):
        return Holder, (self.inner,), {"inner": self.inner}


def test_an_object_inside_its_own_arguments():
    inner: list = []
    holder = Holder(inner)
    inner.append(holder)
    found = pickle.loads(rewritten(pickle.dumps(holder, 2)))
    assert found.inner[0] is found


def test_objects_with_state_items_and_none_as_a_key():
    value = defaultdict(list, {None: [1], "a": [2]})
    assert read_pickle(pickle.dumps(value, 2)).root.items == [(None, [1]), ("a", [2])]
    assert pickle.loads(rewritten(pickle.dumps(value, 2))) == value

    appending = Call(Global("collections", "deque"), ((),))
    appending.items += [(APPENDED, 1), (APPENDED, None)]
    assert list(pickle.loads(write_pickle(appending))) == [1, None]


def test_a_deep_tree_needs_no_stack():
    tree: list = []
    for _ in range(100_000):
        tree = [tree]
    assert mismatch(read_pickle(write_pickle(tree)).root, tree) is None


def resaved(state):
    """What torch safely loads of a state whose pickle was read and written again."""
    file = io.BytesIO()
    torch.save(state, file)
    out = io.BytesIO()
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            new.writestr(name, rewritten(data) if name.endswith("data.pkl") else data)
    out.seek(0)
    return torch.load(out, weights_only=True)


def test_torch_loads_a_training_state():
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.rand(5, 4)).sum().backward()
    optimizer.step()
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [2, 5, 5])
    shared = {"lr": 0.1}
    state = {
        "model": model.state_dict(), "optimizer": optimizer.state_dict(),
        "scheduler": scheduler.state_dict(), "rng": torch.get_rng_state(), "config": [shared] * 2,
        "odd": [b"\x00\xff", bytearray(b"x"), {1, "a"}, 1j, torch.Size([2]), torch.float16,
                torch.device("cpu"), 2**70, -1, 1e-300, float("inf"), "ü\ud800"],
    }  # fmt: skip
    found = resaved(state)
    assert not differences({**found, "odd": 0}, {**state, "odd": 0})
    assert found["odd"] == state["odd"]
    assert type(found["scheduler"]["milestones"]) is Counter
    assert found["scheduler"]["milestones"] == Counter([2, 5, 5])
    assert found["model"]._metadata == model.state_dict()._metadata
    assert found["config"][0] is found["config"][1]


@pytest.mark.parametrize(
    "state",
    [
        nn.Parameter(torch.ones(2)),
        torch.ones(2, 2).to_sparse(),
        torch.eye(3).to_sparse_csr(),
        torch.quantize_per_tensor(torch.ones(4), 0.1, 0, torch.qint8),
        torch.ones(3, device="meta"),
        torch.ones(2, dtype=torch.complex64).conj(),
        torch.zeros(3, dtype=torch.uint16),
    ],
    ids=str,
)
def test_torch_loads_tensors_of_many_kinds(state):
    found = resaved(state)
    assert (found.dtype, found.layout, found.is_conj()) == (
        state.dtype, state.layout, state.is_conj()
    )  # fmt: skip
    assert str(found) == str(state)


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        (object(), "a object"),
        (Call(Global("a", "b"), (), "INST"), "by INST"),
        (Call(Global("a", "b"), [1]), "without a tuple"),
        (Call(Global("a", "b"), (), "NEWOBJ_EX"), "by NEWOBJ_EX"),
        (Call(Global("a", "b"), (), state=Twice((1, 2))), "a Twice"),
        (Global("copyreg extension", "3"), "copyreg extension"),
        (Global("a\nb", "c"), "the name"),
        (PersistentId("out-of-band buffer"), "no storage"),
    ],
)
def test_what_torch_never_writes_is_refused_by_name(tree, words):
    with pytest.raises(UnwritableError, match=words):
        write_pickle([tree])


@pytest.mark.parametrize("protocol", [4, 5])
def test_keyword_arguments_and_second_states_are_told_apart(protocol):
    class_with_keywords = b"\x80\x04cbuiltins\ndict\n)}\x92."
    assert read_pickle(class_with_keywords).root.opcode == "NEWOBJ_EX"
    twice = b"\x80\x02cx\ny\n)R}b}b."
    assert type(read_pickle(twice).root.state) is Twice
    slots = b"\x80\x02cx\ny\n)RN}\x86b."
    assert type(read_pickle(slots).root.state) is tuple


def test_equal_means_same_types_order_bits_and_objects():
    one, other = [1], {"a": 1}
    unequal = [
        (1, True), (1, 1.0), ("1", 1), (0.0, -0.0), ([1], (1,)), ({1: 0}, {"1": 0}), (b"a", b"b"),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}), ([one, one], [[1], [1]]), ([[1], [1]], [one, one]),
        ({1}, {2}), ({1}, frozenset({1})), (1j, 2j), (other, OrderedDictNode(other)),
        (Global("a", "b"), Global("a", "c")), ([1], [1, 2]), ({1}, {True}),
    ]  # fmt: skip
    for a, b in unequal:
        assert mismatch(a, b) is not None, (a, b)
        assert mismatch(a, a) is None
    assert mismatch(float("nan"), float("nan")) is None
    assert mismatch(b"ab", read_pickle(pickle.dumps(b"ab", 2)).root) is None
