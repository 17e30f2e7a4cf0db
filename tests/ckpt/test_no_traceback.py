"""Whatever is in a file, ``ckpt`` says so in lines that a terminal shows as they are."""

import itertools
import json
import re
import struct

import hostile
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from course_utils.ckpt.main import main

LOOKS = ["inspect", "verify", "audit", "doctor"]


@pytest.fixture
def save(tmp_path):
    def save(state, name="a.pt"):
        torch.save(state, tmp_path / name)
        return str(tmp_path / name)

    return save


@pytest.fixture
def run(capsys):
    def run(*arguments):
        status = main([str(argument) for argument in arguments])
        streams = capsys.readouterr()
        text = streams.out + streams.err
        assert "internal error" not in text
        assert "Traceback" not in text
        return status, text

    return run


def quantized():
    return torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)


ODD = {
    "float4": lambda: torch.zeros(4, dtype=torch.uint8).view(torch.float4_e2m1fn_x2),
    "bits": lambda: torch.zeros(4, dtype=torch.uint8).view(torch.bits8),
    "quantized": quantized,
    "expanded": lambda: torch.ones(1).expand(10**12),
    "windows": lambda: torch.ones(2000).as_strided((1000, 1000), (1, 1)),
    "overflowing and empty": lambda: torch.ones(0).as_strided((2**40, 0, 2**40), (0, 0, 0)),
    "sparse": lambda: torch.eye(3).to_sparse_csr(),
    "integers of thousands of digits": lambda: [10**5000, -(10**5000), 2**63, {1: 10**4299}],
    "not finite": lambda: {"a": float("inf"), "b": -float("inf"), "c": [float("nan")]},
    "a class": lambda: torch.nn.Linear,
    "bytes and sets": lambda: [b"\xff\0", {1, 2}, frozenset({3}), bytearray(9), 1j, slice(3)],
    "odd keys": lambda: {None: 1, (1, (2, "x")): 2, 3.5: 3, b"k": 4, True: 5, "": 6, ".": 7},
    "cycles": lambda: [cycle := [], cycle.append(cycle)] and {"a": cycle, "b": [cycle, cycle]},
    "deep": lambda: deep(150),
    "lone surrogates": lambda: {"\ud800": torch.ones(1), "x": "\udfff"},
}


def deep(levels):
    node = {"end": torch.ones(1)}
    for level in range(levels):
        node = [node] if level % 2 else {"k": node}
    return node


@pytest.mark.parametrize("command", LOOKS)
@pytest.mark.parametrize("name", ODD)
def test_odd_content(save, run, command, name):
    try:
        path = save({"odd": ODD[name](), "w": torch.ones(1)})
    except (RuntimeError, RecursionError, UnicodeEncodeError) as error:
        pytest.skip(f"this torch cannot save it: {error}")
    status, text = run(command, path)
    assert status in (0, 1)
    assert len(text) < 20_000
    status_of_json, text = run(command, "--json", path)
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert status_of_json == status


def test_numbers_that_json_lacks(save, run):
    state = {
        "a": float("inf"),
        "b": -float("inf"),
        "c": [float("nan"), 1],
        "n": 10**5000,
        "m": 2**70,
    }
    _, text = run("inspect", "--json", save(state))
    assert json.loads(text)["files"][0]["values"] == {
        "a": "Infinity",
        "b": "-Infinity",
        "c": ["NaN", 1],
        "n": {"described": "integer of 16,610 bits"},
        "m": 2**70,
    }


def test_what_is_long_is_described(save, run):
    state = {
        "vocabulary": {f"word{i}": i for i in range(50_000)},
        "merges": [[f"a{i}", f"b{i}"] for i in range(50_000)],
        "text": "x" * 10**6,
        "numbers": list(range(10**5)),
        "deep": {f"k{i}": {"id": i} for i in range(30_000)},
        "epoch": 3,
        "w": torch.ones(1),
    }
    path = save(state)
    for options in ((), ("--json",)):
        _, text = run("inspect", *options, path)
        assert len(text) < 3_000_000
        assert "49,800 more values" in text
        assert "list of 100,000" in text
        assert "text of 1,000,000 characters" in text
    found = json.loads(text)["files"][0]
    assert found["values"]["epoch"] == 3
    shown = sum(not isinstance(value, dict) for value in found["values"].values())
    assert shown <= 10_000
    assert found["values_left_out"] >= 2 * 49_800 + 20_000


HOSTILE_NAMES = ["\x1b]0;title\x07", "a\rb", "a\nb: sound", "\u202egnp.exe", "\x9b31m", "a\u200bb"]


@pytest.mark.parametrize("name", HOSTILE_NAMES)
@pytest.mark.parametrize("command", LOOKS)
def test_names_cannot_command_the_terminal(save, run, command, name):
    state = {name: torch.tensor([float("nan")]), "value": name, "v": {name: 1}}
    paths = [save(state), save({name: torch.tensor([1.0])}, f"{name}.pt".replace("/", "_"))]
    for path in paths:
        _, text = run(command, path)
        assert all(c.isprintable() or c == "\n" for c in text)
    lines = run(command, *paths)[1].splitlines()
    assert len([line for line in lines if re.search(r"\.pt: ", line)]) == 2
    run("diff", *paths)
    assert json.loads(run(command, "--json", *paths)[1])


def test_diff_and_rewriting_of_names(save, run, tmp_path):
    for number, name in enumerate(HOSTILE_NAMES):
        path = save({f"module.{name}": torch.ones(1)})
        for command in ("convert", "slim", "strip-prefix"):
            _, text = run(command, path, tmp_path / f"{command}{number}")
            assert all(c.isprintable() or c == "\n" for c in text)


def small_files():
    a = hostile.zip_checkpoint(b"\x80\x02}" + hostile.text("w") + hostile.tensor() + b"s.")
    header = b'{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'
    return [a, struct.pack("<Q", len(header)) + header + bytes(8)]


@settings(max_examples=150, deadline=None)
@given(
    which=st.integers(0, 1),
    changes=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=4),
    cut=st.floats(0, 1),
)
def test_any_damage_at_all(tmp_path_factory, which, changes, cut):
    data = bytearray(small_files()[which])
    for place, byte in changes:
        data[int(place * (len(data) - 1))] = byte
    if cut < 0.5:
        del data[int(cut * 2 * len(data)) :]
    folder = tmp_path_factory.getbasetemp() / "damage"
    folder.mkdir(exist_ok=True)
    path = folder / "x.pt"
    path.write_bytes(data)
    for command, extra in itertools.product(LOOKS, ([], ["--json"])):
        import contextlib
        import io

        shown = io.StringIO()
        with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(shown):
            assert main([command, *extra, str(path)]) in (0, 1, 2)
        assert "internal error" not in shown.getvalue()
        if extra:
            json.loads(shown.getvalue())
