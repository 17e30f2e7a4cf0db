"""The page about ``--json`` names every field that is printed, and none that is not."""

import json
import re
from pathlib import Path

import pytest
import torch
from training import training_state

from course_utils.ckpt import output
from course_utils.ckpt.main import main
from course_utils.files.contents import open_contents

PAGE = (Path(__file__).parents[2] / "docs" / "ckpt-json.md").read_text(encoding="utf-8")
DATA = Path(__file__).parents[1] / "data" / "build_0_1"
EVERY = {"file", "status", "verdict"}


@pytest.fixture
def entries(tmp_path, capsys):
    """Run a command; return the entries of its document."""
    state = training_state() | {"s": torch.eye(2).to_sparse(), "n": torch.tensor([float("nan")])}
    torch.save(state, tmp_path / "a.pt")
    torch.save({"module.w": torch.ones(2)}, tmp_path / "b.pt")
    record = open_contents(tmp_path / "a.pt").records["data/0"]
    damaged = bytearray((tmp_path / "a.pt").read_bytes())
    damaged[record.offset] ^= 1
    (tmp_path / "bad.pt").write_bytes(damaged)

    def entries(command, *names):
        main([command, "--json", *(str(tmp_path / name) for name in names)])
        return json.loads(capsys.readouterr().out)["files"]

    return entries


def section(title):
    sections = re.split(r"^## ", PAGE, flags=re.MULTILINE)
    (found,) = (text for text in sections if text.splitlines()[0] == title)
    return found


def named(text):
    return set(re.findall(r"`([a-z_]+)`", text))


LOOKS = [("inspect", "a.pt"), ("verify", "bad.pt"), ("audit", "a.pt"), ("doctor", "a.pt")]


@pytest.mark.parametrize(("command", "name"), LOOKS)
def test_fields_of_looking(entries, command, name):
    (entry,) = entries(command, name)
    fields = set(entry) - EVERY
    for value in entry.values():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            fields |= set(value[0])
    text = section(command)
    assert fields <= named(text)
    rows = {
        word for row in re.findall(r"^\| (`[^|]*`) \|", text, re.MULTILINE) for word in named(row)
    }
    assert rows - fields <= {"records"}


def test_fields_of_the_others(entries):
    (entry,) = entries("diff", "a.pt", "b.pt")
    assert set(entry) - EVERY == {
        "first", "second", "differences", "tensors", "values", "not_compared",
    }  # fmt: skip
    assert set(entry["differences"][0]) == {"name", "what", "detail", "largest"}
    written = section("convert, strip-prefix, slim, rescue")
    for command in ("convert", "strip-prefix", "slim", "rescue"):
        (entry,) = entries(command, "b.pt", f"out-of-{command}")
        (row,) = (line for line in written.splitlines() if line.startswith(f"| `{command}`"))
        assert set(entry) - EVERY == named(row) - {command}


def test_fields_of_records_and_errors(entries, capsys):
    main(["inspect", "--json", str(DATA / "traced.pt")])
    (entry,) = json.loads(capsys.readouterr().out)["files"]
    assert set(entry) - EVERY == {"kind", "bytes", "records"}
    assert set(entry["records"][0]) == {"name", "bytes"}
    (entry,) = entries("verify", "no.pt")
    assert set(entry) - EVERY == {"error"}
    assert set(entry["error"]) == {"type", "message"}


def test_the_page_names_this_schema():
    assert f"| `schema` | {output.SCHEMA} |" in PAGE
