"""The symbolic reader builds what pickle builds, imports nothing, and survives hostile input."""

import collections
import io
import pickle
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from course_utils.formats.pickle import opcodes, read_pickle, scan_pickle
from course_utils.formats.pickle_nodes import Call, Global, MalformedPickleError, OrderedDictNode

small = st.integers(-(2**63), 2**63)
plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text() | small | st.tuples(small, st.text()), inner)
        | st.sets(small, max_size=4)
    ),
    max_leaves=12,
)


class Touches:
    """Would create a file when unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (Path(self.path),)


@settings(deadline=None)
@given(plain, st.sampled_from([2, 3, 4, 5]))
def test_plain_values_come_out_equal(value, protocol):
    data = pickle.dumps(value, protocol=protocol)
    content = read_pickle(data)
    assert content.length == len(data)
    if protocol >= 4:  # before, sets and bytes are made by a call
        assert content.root == value
        assert content.globals == set()


@pytest.mark.parametrize("protocol", range(6))
def test_a_call_is_recorded_and_not_made(tmp_path, protocol):
    marker = tmp_path / "marker"
    content = read_pickle(pickle.dumps({"x": Touches(marker)}, protocol=protocol))
    assert not marker.exists()
    assert isinstance(content.root["x"], Call)
    assert content.root["x"] in content.calls
    named = [argument for call in content.calls for argument in call.arguments]
    assert "touch" in [*named, *(found.name.split(".")[-1] for found in content.globals)]


def test_an_unused_import_is_reported_too():
    data = b"\x80\x02cthis_module\nis_imported\n0N."  # import, pop, None
    assert read_pickle(data).globals == {Global("this_module", "is_imported")}
    assert "this_module" not in sys.modules


def test_a_computed_name_does_not_pass_for_a_harmless_one():
    data = b"\x80\x04c__builtin__\nstr\n(tR\x8c\x06system\x93."
    assert any("computed" in str(found) for found in read_pickle(data).globals)


def test_ordered_dicts_keep_their_attributes():
    value = collections.OrderedDict(a=1)
    value.extra = {"version": 2}
    root = read_pickle(pickle.dumps(value, protocol=2)).root
    assert isinstance(root, OrderedDictNode)
    assert root == {"a": 1}
    assert root.state == {"extra": {"version": 2}}


def test_a_second_build_is_kept():
    data = b"\x80\x02cm\nf\n)\x81}q\x00b]b."
    assert read_pickle(data).root.state == ({}, [])


def test_shared_and_cyclic_objects_keep_their_identity():
    shared = [1]
    cycle = [shared, shared]
    cycle.append(cycle)
    root = read_pickle(pickle.dumps(cycle, protocol=4)).root
    assert root[0] is root[1]
    assert root[2] is root


@pytest.mark.parametrize("cut", range(1, 40))
def test_a_truncated_pickle_is_malformed(cut):
    data = pickle.dumps({"a": [1, 2.5, "text"], "b": (None, True)}, protocol=4)
    with pytest.raises(MalformedPickleError):
        read_pickle(data[:-cut])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xff.",
        b".",  # STOP with nothing on the stack
        b"\x80\x02h\x07.",  # a memo entry that was never made
        b"\x80\x02N}b.",  # attributes on None
        b"\x80\x02]]s.",  # pairs need two values
        b"\x80\x02N(KaKbu.",  # items on None
        b"\x80\x02t.",  # a tuple without a mark
        b"\x80\x02}]K\x01s.",  # a list as a key
        b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\x7f.",  # text of 2**63 bytes
        b"\x80\x04\x8e\xff\xff\xff\xff\x00\x00\x00\x00.",  # 4 GB of bytes
        b"\x80\x02\x8b\xff\xff\xff\x7f.",  # an integer of 2 GB
        b"I" + b"9" * 100_000 + b"\n.",  # digits that take quadratic time
    ],
)
def test_nonsense_is_malformed_and_costs_nothing(data):
    with pytest.raises(MalformedPickleError):
        read_pickle(data)


def test_a_deeply_nested_key_cannot_crash_the_interpreter():
    data = b"\x80\x02}(N" + b"\x85" * 200_000 + b"K\x01u."
    with pytest.raises(MalformedPickleError, match="key"):
        read_pickle(data)


def test_a_key_whose_parts_multiply_is_refused():
    shared = b"(" + b"K\x01" * 50 + b"tq\x00"
    for number in range(1, 12):
        shared += b"0(" + b"h" + bytes([number - 1])
        shared += (b"h" + bytes([number - 1])) * 49 + b"tq" + bytes([number])
    with pytest.raises(MalformedPickleError, match="key"):
        read_pickle(b"\x80\x02}q\xff0" + shared + b"0h\xffh\x0bK\x01s.")


def test_huge_integers_are_keys_unless_there_are_too_many():
    keys = {2**63: 1, 2**64 + 5: 2, -(2**100): 3}
    assert read_pickle(pickle.dumps(keys, 2)).root == keys
    with pytest.raises(MalformedPickleError, match="huge integers as keys"):
        read_pickle(pickle.dumps(dict.fromkeys(range(2**64 + 1, 2**64 + 1002)), 2))


def test_what_is_imported_and_then_changed_is_told():
    for change in (b"}U\x01aK\x01sb", b"U\x01aK\x01s", b"K\x01a", b"(K\x01e", b"(K\x01\x90"):
        content = scan_pickle(io.BytesIO(b"\x80\x04csys\npath\n" + change + b"."))
        assert content.changed == [Global("sys", "path")]
        assert content.problem is None  # an unpickler would go on


def test_an_ordered_dict_as_python_2_wrote_it():
    pairs = b"](](U\x01aK\x01e](U\x01bK\x02ee\x85R"
    root = read_pickle(b"\x80\x02ccollections\nOrderedDict\n" + pairs + b".").root
    assert root == {"a": 1, "b": 2}
    assert isinstance(root, OrderedDictNode)


def test_a_name_in_disguise_is_read_as_an_unpickler_would():
    # pickletools shows the escape undone; an unpickler would import a module of that odd name.
    content = read_pickle(b"\x80\x02ccoll\\x65ctions\nOrderedDict\n.")
    assert content.globals == {Global("coll\\x65ctions", "OrderedDict")}


@pytest.mark.parametrize("protocol", [4, 5])
def test_frames_must_agree_with_the_instructions(protocol):
    """CPython's unpickler loses the bytes that it has read ahead where a frame is too short."""
    data = pickle.dumps(["a" * 50, "b" * 50], protocol)
    assert read_pickle(data).root == ["a" * 50, "b" * 50]
    start = data.index(b"\x95") + 1
    length = int.from_bytes(data[start : start + 8], "little")
    for shorter in range(1, length):
        framed = data[:start] + (length - shorter).to_bytes(8, "little") + data[start + 8 :]
        problem = scan_pickle(io.BytesIO(framed)).problem
        try:
            root = pickle._Unpickler(io.BytesIO(framed)).load()
        except pickle.UnpicklingError:
            assert "frame" in problem
        else:  # a frame that ends between an opcode and its argument is refused all the same
            assert (problem and "frame" in problem) or read_pickle(framed).root == root
    between = [length - shorter for shorter in (1, 2, 3)]
    for whole in between:
        framed = data[:start] + whole.to_bytes(8, "little") + data[start + 8 :]
        assert read_pickle(framed).root == ["a" * 50, "b" * 50]


def test_a_pickle_that_ends_early_still_shows_what_it_called():
    content = scan_pickle(io.BytesIO(b"\x80\x02cposix\nsystem\nX\x02\0\0\0ls\x85R"))
    assert "exhausted" in content.problem
    assert [str(call.function) for call in content.calls] == ["posix.system"]
    assert content.globals == {Global("posix", "system")}


def test_pickles_that_follow_each_other_are_read_one_by_one():
    file = io.BytesIO(pickle.dumps(1) + pickle.dumps([2]) + b"rest")
    assert [scan_pickle(file).root, scan_pickle(file).root] == [1, [2]]
    assert file.read() == b"rest"


def test_deep_nesting_is_read_without_recursion():
    read_pickle(b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".")


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_random_bytes_never_do_worse_than_malformed(noise):
    for data in (noise, b"\x80\x02" + noise + b"."):
        try:
            read_pickle(data)
            list(opcodes(data))
        except MalformedPickleError:
            pass


def test_opcodes_have_positions_names_and_arguments():
    data = pickle.dumps({"a": 1}, protocol=2)
    listed = list(opcodes(data))
    assert (listed[0].position, listed[0].name, listed[0].argument) == (0, "PROTO", 2)
    assert listed[-1].name == "STOP"
    assert listed[-1].position == len(data) - 1
