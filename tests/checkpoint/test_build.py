"""What is built without torch's unpickler is what torch would have built, or is left to torch."""

import io
import itertools
import pickle
import sys
import zipfile
from collections import Counter, OrderedDict

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch._subclasses import FakeTensorMode

from course_utils.checkpoint import load, load_checkpoint, save_checkpoint
from course_utils.checkpoint.build import NotBuiltError, build
from course_utils.checkpoint.torch_versions import safe_loader_is_broken
from course_utils.errors import (
    CheckpointError,
    DamagedCheckpointError,
    UnsafeCheckpointError,
    UnsupportedCheckpointError,
)
from course_utils.formats.judge import Verdict
from course_utils.formats.pickle import read_pickle
from course_utils.resume import differences
from course_utils.safety import audit


@pytest.fixture
def by_torch(monkeypatch):
    """Tell how often torch's unpickler was asked."""
    asked, original = [], load._by_torch
    monkeypatch.setattr(load, "_by_torch", lambda *a: asked.append(1) or original(*a))
    return asked


def state_dict():
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    return model.state_dict()


def parameters():
    tied = nn.Parameter(torch.rand(2, 3))
    return [tied, tied, nn.Parameter(torch.arange(3), requires_grad=False)]


def shared():
    inner, base = [1], torch.arange(12.0)
    loop = {"inner": inner, "again": inner, "views": [base[2:8:2], base.view(3, 4).T, base]}
    return loop | {"empty": [torch.empty(0, 3), base[:0]], "alike": (inner, inner)}


def optimizer():
    model = nn.Linear(3, 2)
    adam = torch.optim.AdamW(model.parameters(), amsgrad=True)
    model(torch.rand(4, 3)).sum().backward()
    adam.step()
    milestones = torch.optim.lr_scheduler.MultiStepLR(adam, [2, 2, 5])
    return {"optimizer": adam.state_dict(), "scheduler": milestones.state_dict()}


BUILT = {
    "a state_dict with its metadata": state_dict,
    "parameters, one of them twice": parameters,
    "what is shared, views, and nothing": shared,
    "an optimizer and a scheduler with a Counter": optimizer,
    "plain values": lambda: [None, True, -1, 2**70, 0.5, float("inf"), "ä\ud800", b"\x00\xff", ()],
    "keys that are no text": lambda: {1: "one", None: 2, (3, "x"): {True: 4}, 1.5: 5},
    "sizes and dtypes": lambda: [torch.Size([2, 3]), torch.bfloat16, Counter("aab")],
    "newer dtypes": lambda: [
        torch.ones(3, dtype=torch.uint16),
        torch.ones(3).to(torch.float8_e5m2),
    ],
    "a tensor that is trained": lambda: torch.ones(2, requires_grad=True),
    "deep": lambda: nested(100),
}
LEFT = {
    "a device": lambda: {"device": torch.device("cpu"), "weight": torch.ones(3)},
    "a conjugate": lambda: torch.tensor([1 + 2j]).conj(),
    "a sparse tensor": lambda: torch.eye(3).to_sparse(),
    "a meta tensor": lambda: torch.empty(3, device="meta"),
    "a quantized tensor": lambda: torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
    "a set": lambda: {1, 2},
    "an attribute of a tensor": lambda: with_attribute(nn.Parameter(torch.ones(2))),
}


def nested(depth):
    state = torch.ones(2)
    for _ in range(depth):
        state = {"a": [state]}
    return state


def with_attribute(tensor):
    tensor.note = "kept"
    return tensor


@pytest.mark.parametrize("mmap", [False, True])
@pytest.mark.parametrize("make", BUILT.values(), ids=BUILT)
def test_it_is_what_torch_builds(tmp_path, by_torch, make, mmap):
    path = save_checkpoint(tmp_path / "state.pt", make())
    ours, torchs = load_checkpoint(path, mmap=mmap), torch.load(path, weights_only=True)
    assert by_torch == []
    assert_same(ours, torchs)


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
@pytest.mark.parametrize("make", LEFT.values(), ids=LEFT)
def test_the_rest_is_left_to_torch(tmp_path, by_torch, make):
    path = tmp_path / "state.pt"
    torch.save(make(), path)
    ours, torchs = load_checkpoint(path), torch.load(path, map_location="cpu", weights_only=True)
    assert by_torch == [1]
    assert pickled(ours) == pickled(torchs)


def assert_same(ours, torchs):
    """Of the same types, values, attributes, and with the same objects and memories shared."""
    assert differences(ours, torchs) == []
    assert pickled(ours) == pickled(torchs)  # memories, and which objects are one
    for one, two in zip(parts(ours), parts(torchs), strict=True):
        assert type(one) is type(two)
        assert getattr(one, "_metadata", None) == getattr(two, "_metadata", None)
        if isinstance(one, torch.Tensor):
            assert one.requires_grad == two.requires_grad
            assert one.is_leaf
            assert one.untyped_storage().nbytes() == two.untyped_storage().nbytes()
            assert one.dtype == two.dtype


def pickled(state):
    content = io.BytesIO()
    torch.save(state, content)
    with zipfile.ZipFile(content) as archive:
        return {name: archive.read(name) for name in archive.namelist() if "/.data" not in name}


def parts(root):
    if isinstance(root, dict):
        inside = itertools.chain.from_iterable(root.items())
    else:
        inside = root if isinstance(root, list | tuple) else ()
    return [root, *itertools.chain.from_iterable(map(parts, inside))]


# Before 2.10 the audit, which comes first there, says what is wrong.
REFUSED = UnsafeCheckpointError if safe_loader_is_broken() else DamagedCheckpointError
leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=3),
    st.binary(min_size=1, max_size=3),
)
TENSORS = [
    torch.arange(6.0).view(2, 3),
    torch.arange(6).view(2, 3).T,
    torch.tensor(1.5),
    torch.empty(0, 2),
]
SHARED = [[1], {"a": 2}, TENSORS[0], TENSORS[0][:, 1], OrderedDict(x=1), nn.Parameter(TENSORS[0])]


@settings(max_examples=150, deadline=None)
@given(
    st.recursive(
        leaves | st.sampled_from([*TENSORS, *SHARED]),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(st.text(max_size=2) | st.integers(), inner, max_size=4)
            | st.tuples(inner, inner)
            | st.dictionaries(st.text(max_size=2), inner, max_size=3).map(OrderedDict)
        ),
    )
)
def test_any_state_is_what_torch_builds(state):
    content = io.BytesIO()
    torch.save(state, content)
    with zipfile.ZipFile(content) as archive:
        stem = archive.namelist()[0].partition("/")[0]
        records = {name.removeprefix(f"{stem}/"): archive.read(name) for name in archive.namelist()}

    def storage(name, nbytes):
        assert len(records[name]) == nbytes
        return torch.UntypedStorage(list(records[name])) if nbytes else torch.UntypedStorage(0)

    content.seek(0)
    torchs = torch.load(content, weights_only=True)
    assert_same(build(read_pickle(records["data.pkl"]), storage), torchs)


def archive_of(path, pickled, **records):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/version", "3\n")
        for name, content in records.items():
            archive.writestr(f"archive/data/{name.removeprefix('_')}", content)
    return path


def test_what_is_imported_and_thrown_away_is_refused(tmp_path):
    """Nothing in the result tells of it."""
    content = b"\x80\x02cposix\nsystem\n0}."
    assert pickle.loads(content) == {}
    with pytest.raises(UnsafeCheckpointError, match=r"posix\.system"):
        load_checkpoint(archive_of(tmp_path / "a.pt", content))


def tensor_of(key, kind, count, hooks="ccollections\nOrderedDict\n)R"):
    storage = f"(X\7\0\0\0storagectorch\n{kind}\nX\1\0\0\0{key}X\3\0\0\0cpuK{chr(count)}tQ"
    return f"ctorch._utils\n_rebuild_tensor_v2\n({storage}K\0K\2\x85K\1\x85\x89{hooks}tR".encode(
        "latin1"
    )


def test_a_storage_that_is_said_to_be_two_things_is_left_to_torch(tmp_path, by_torch):
    content = b"\x80\x02]" + b"".join(
        tensor_of("0", kind, count) + b"a"
        for kind, count in [("IntStorage", 4), ("LongStorage", 2)]
    )
    path = archive_of(tmp_path / "a.pt", content + b".", _0=bytes(range(16)))
    loaded, torchs = load_checkpoint(path), torch.load(path, weights_only=True)
    assert by_torch == [1] * len(by_torch) != []
    assert [(t.dtype, t.tolist()) for t in loaded] == [(t.dtype, t.tolist()) for t in torchs]


def test_what_is_nested_deeper_than_python_goes_is_left_to_torch():
    content = b"\x80\x02" + b"]" * 2000 + b"a" * 1999 + b"."
    with pytest.raises(NotBuiltError, match="deep"):
        build(read_pickle(content), lambda *_: None)


def call(function, *arguments, how=b"R"):
    return b"c" + function.encode().replace(b":", b"\n") + b"\n(" + b"".join(arguments) + b"t" + how


HOOKS = call("collections:OrderedDict")
SOME_HOOKS = HOOKS + b"K\1K\2s"
PARAMETER = "torch._utils:_rebuild_parameter"
TENSOR, FLOATS = (tensor_of("0", kind, 4) for kind in ("IntStorage", "FloatStorage"))
ODD = {
    "a list as a key": b"}]K\1s",
    "a size of text": call("torch:Size", b"X\1\0\0\0a"),
    "a size with more": call("torch:Size", b")", b"K\1"),
    "a size with a state": call("torch:Size", b")") + b"}K\1K\2sb",
    "a counter made as NEWOBJ does": call("collections:Counter", b"]K\1a", how=b"\x81"),
    "a counter with what is set on it": call("collections:Counter", b"}") + b"K\1K\2s",
    "attributes that are no dict": HOOKS + b"K\1b",
    "attributes set twice": HOOKS + b"}K\1K\2sb}K\3K\4sb",
    "a parameter of a number": call(PARAMETER, b"K\1", b"\x89", HOOKS),
    "a parameter with more": call(PARAMETER, TENSOR, b"\x89", HOOKS, b"}"),
    "a parameter that is trained for 1": call(PARAMETER, TENSOR, b"K\1", HOOKS),
    "a parameter with hooks": call(PARAMETER, TENSOR, b"\x89", SOME_HOOKS),
    "a tensor with a hook": tensor_of("0", "IntStorage", 4, SOME_HOOKS.decode("latin1")),
    "a tensor that is trained for 1": FLOATS.replace(b"\x89cc", b"K\1cc"),
    "a tensor of no storage": call("torch._utils:_rebuild_tensor_v2"),
    "a frame that ends elsewhere": b"\x95\2" + bytes(7) + b"X\1\0\0\0a",
}


@pytest.mark.parametrize("content", ODD.values(), ids=ODD)
def test_what_no_torch_writes_gives_what_torch_says(tmp_path, by_torch, content):
    path = archive_of(tmp_path / "a.pt", b"\x80\x02" + content + b".", _0=bytes(range(16)))
    if safe_loader_is_broken() and audit(path).verdict is not Verdict.PLAIN_DATA:
        with pytest.raises(UnsafeCheckpointError):  # torch is not asked
            load_checkpoint(path)
        return
    try:
        torchs = torch.load(path, weights_only=True)
    except Exception:
        with pytest.raises((CheckpointError, RuntimeError)):
            load_checkpoint(path)
    else:
        ours = load_checkpoint(path)
        assert pickled(ours) == pickled(torchs)
        assert getattr(ours, "__dict__", None) == getattr(torchs, "__dict__", None)
        assert getattr(ours, "_backward_hooks", None) == getattr(torchs, "_backward_hooks", None)
    assert by_torch != []


def test_what_another_unpickler_may_read_otherwise_is_left_to_torch():
    content = read_pickle(b"\x80\x02}.")
    assert build(content, lambda *_: None) == {}
    with pytest.raises(NotBuiltError):
        build(content._replace(doubtful=True), lambda *_: None)


def test_a_dtype_that_this_torch_lacks_is_left_to_it(monkeypatch):
    content = read_pickle(b"\x80\x02ctorch\nuint16\n.")
    assert build(content, lambda *_: None) == torch.uint16
    monkeypatch.delattr(torch, "uint16")
    with pytest.raises(NotBuiltError, match="imports"):
        build(content, lambda *_: None)


def test_protocols_that_torchs_safe_loader_does_not_read_are_refused(tmp_path):
    torch.save({"a": torch.ones(3)}, tmp_path / "a.pt", pickle_protocol=4)
    with pytest.raises(UnsupportedCheckpointError, match="plain data, pickled in a way"):
        load_checkpoint(tmp_path / "a.pt")


@pytest.mark.parametrize("checksums", [True, False])
def test_a_storage_that_is_missing_or_shorter(tmp_path, monkeypatch, checksums):
    if not checksums:
        monkeypatch.setattr(load, "has_checksums", lambda _: False)
    content = b"\x80\x02" + tensor_of("0", "IntStorage", 4) + b"."
    assert load_checkpoint(archive_of(tmp_path / "a.pt", content, _0=bytes(16))).tolist() == [0, 0]
    for records in ({}, {"_0": bytes(12)}):
        with pytest.raises(REFUSED):
            load_checkpoint(archive_of(tmp_path / "b.pt", content, **records))


def test_where_tensors_are_made_differently_torch_makes_them(tmp_path, by_torch):
    path = save_checkpoint(tmp_path / "a.pt", {"a": torch.ones(3)})
    with torch.serialization.skip_data():
        load_checkpoint(path)
    assert by_torch == [1]
    with FakeTensorMode(), pytest.raises(NotBuiltError):
        build(read_pickle(b"\x80\x02}."), lambda *_: None)


def test_numbers_of_the_other_byte_order_are_turned_by_torch(tmp_path, by_torch):
    other = {"little": "big", "big": "little"}[sys.byteorder]
    torch.save({"a": torch.tensor([1.0, 2.0])}, tmp_path / "a.pt")
    with zipfile.ZipFile(tmp_path / "a.pt") as old, zipfile.ZipFile(tmp_path / "b.pt", "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name.endswith("data/0"):
                content = np.frombuffer(content, "f4").byteswap().tobytes()
            new.writestr(name, other if name.endswith("byteorder") else content)
    assert load_checkpoint(tmp_path / "b.pt")["a"].tolist() == [1, 2]
    assert by_torch != []


def test_an_empty_tensor_has_no_memory(tmp_path, by_torch):
    path = save_checkpoint(tmp_path / "a.pt", [torch.empty(0), torch.empty(0, 2)])
    for mmap in (False, True):
        loaded = load_checkpoint(path, mmap=mmap)
        assert [t.untyped_storage().data_ptr() for t in loaded] == [0, 0]
    assert by_torch == []


def test_elsewhere_torch_places_tensors(tmp_path, by_torch):
    path = save_checkpoint(tmp_path / "a.pt", {"a": torch.ones(3)})
    for place in (None, "meta", {"cpu": "cpu"}, lambda storage, tag: storage):
        by_torch.clear()
        load_checkpoint(path, place)
        assert by_torch == [1]
    load_checkpoint(path, torch.device("cpu"))
    assert by_torch == [1]


def test_a_mapped_tensor_is_the_file_also_when_it_was_verified(tmp_path):
    """Nothing is read into memory of its own: the file may be larger than that."""
    path = save_checkpoint(tmp_path / "a.pt", {"a": torch.ones(4096)})
    loaded = load_checkpoint(path, mmap=True, verify_mapped=True)
    content = path.read_bytes()
    start = content.index(torch.ones(4096).numpy().tobytes())
    with open(path, "r+b") as file:
        file.seek(start)
        file.write(bytes(4096 * 4))
    assert loaded["a"].eq(0).all()
