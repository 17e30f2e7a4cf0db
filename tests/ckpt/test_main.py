"""The checkpoint doctor: what it prints, its exit status, and the copies it writes."""

import json
import os
import subprocess
import sys

import hostile
import pytest
import torch
from torch import nn

from course_utils.ckpt.doctor import examine
from course_utils.ckpt.main import main
from course_utils.files.contents import open_contents
from course_utils.lessons.measure import reading


def training_state():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.rand(5, 4)).sum().backward()
    optimizer.step()
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 2)
    return {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "scheduler": scheduler.state_dict(),
        "rng": torch.get_rng_state(),
        "epoch": 3,
    }


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
        return status, streams.out or streams.err

    return run


def flip(path):
    record = open_contents(path).records["data/0"]
    with open(path, "r+b") as file:
        file.seek(record.offset + 1)
        byte = file.read(1)[0]
        file.seek(record.offset + 1)
        file.write(bytes([byte ^ 0x10]))


def test_inspect_shows_a_tree(save, run):
    shared = torch.ones(2)
    status, text = run("inspect", save({"m": {"a": shared, "b": shared}, "epoch": 7}))
    lines = [line.split() for line in text.splitlines()[1:]]
    assert status == 0
    assert lines[1:] == [
        ["m.", "16"],
        ["a", "(2,)", "float32", "8", "cpu"],
        ["b", "(2,)", "float32", "8", "cpu", "m.a"],
        ["epoch", "7"],
    ]


def test_inspect_as_json(save, run):
    status, text = run("inspect", "--json", save({"m": {"a": torch.ones(2, 3)}, "epoch": 7}))
    found = json.loads(text)
    assert status == 0
    assert found["tensors"][0]["name"] == "m.a"
    assert found["tensors"][0]["shape"] == [2, 3]
    assert found["values"] == {"epoch": 7}


def test_verify_names_what_is_damaged(save, run):
    path = save(training_state())
    assert run("verify", path)[0] == 0
    flip(path)
    status, text = run("verify", path)
    assert status == 1
    assert "data/0" in text
    assert "model.0.weight" in text
    assert json.loads(run("verify", "--json", path)[1])["damaged"][0]["record"] == "data/0"


@pytest.mark.parametrize("cut", [10, 500, 3000])
def test_verify_of_a_truncated_file(save, run, cut):
    path = save(training_state())
    os.truncate(path, os.path.getsize(path) - cut)
    assert run("verify", path)[0] == 1


def test_audit(tmp_path, run):
    marker = tmp_path / "marker"
    (tmp_path / "x.pt").write_bytes(
        hostile.zip_checkpoint(b"\x80\x02" + hostile.payloads(marker)["reduce"] + b".")
    )
    status, text = run("audit", tmp_path / "x.pt")
    assert status == 1
    assert "calls posix.system('touch " in text
    for command in ("inspect", "verify", "doctor"):
        run(command, tmp_path / "x.pt")
    for command in ("slim", "strip-prefix", "convert"):
        run(command, tmp_path / "x.pt", tmp_path / "out")
    assert not marker.exists()


def test_diff(save, run):
    a, b = training_state(), training_state()
    status, text = run("diff", save(a), save(b, "b.pt"))
    assert (status, text.startswith("the same, to the last bit: ")) == (0, True)
    b["model"]["0.weight"][1, 2] += 0.5
    b["model"]["0.bias"] = b["model"]["0.bias"].double()
    b["model"]["1.weight"] = torch.ones(4)
    del b["model"]["1.bias"]
    b["extra"] = torch.tensor([float("nan")])
    b["epoch"] = 4
    status, text = run("diff", "--json", save(a), save(b, "b.pt"))
    found = {(c["name"], c["what"]): (c["detail"], c["largest"]) for c in json.loads(text)}
    assert status == 1
    assert found == {
        ("model.0.weight", "elements"): ("1 of 12", pytest.approx(0.5)),
        ("model.0.bias", "dtype"): ("float32 and float64", None),
        ("model.1.weight", "shape"): ("(3,) and (4,)", None),
        ("model.1.bias", "only in the first"): ("float32 (3,)", None),
        ("extra", "only in the second"): ("float32 (1,)", None),
        ("epoch", "value"): ("3 and 4", None),
    }


def topics(path):
    return [complaint.topic for complaint in examine(path)]


def test_a_healthy_checkpoint_has_no_complaints(save, run):
    path = save(training_state())
    assert examine(path) == []
    assert run("doctor", path)[0] == 0


SICK = {
    "slice": lambda state: state | {"part": torch.zeros(5000)[:3]},
    "prefix": lambda state: state | {"model": nn.DataParallel(nn.Linear(2, 2)).state_dict()},
    "live reference": lambda state: state | {"best": dict(state["model"])},
    "stored twice": lambda state: state | {"a": torch.arange(999), "b": torch.arange(999)},
    "dtypes": lambda state: state | {"model": {"a": torch.ones(1), "b": torch.ones(1).half()}},
    "not finite": lambda state: state | {"x": torch.tensor([1.0, float("inf")])},
    "device": lambda state: state | {"x": torch.empty(3, device="meta")},
    "safety": lambda state: state | {"x": nn.ReLU()},
    "resume": lambda state: {"model": state["model"], "epoch": 3},
}


@pytest.mark.parametrize("topic", SICK)
def test_each_complaint_is_found_and_nothing_else(save, topic):
    assert set(topics(save(SICK[topic](training_state())))) == {topic}


@pytest.mark.parametrize("missing", ["optimizer", "scheduler", "rng", "epoch"])
def test_each_missing_part_is_named(save, missing):
    state = training_state()
    del state[missing]
    if missing == "epoch":
        state["scheduler"] = {"gamma": 0.1}
        state["optimizer"]["state"] = {}
    (complaint,) = examine(save(state))
    assert complaint.topic == "resume"


def test_a_bare_state_dict_and_an_old_format(save, tmp_path):
    assert topics(save(training_state()["model"])) == ["resume"]
    path = tmp_path / "old.pt"
    torch.save({"w": torch.ones(1)}, path, _use_new_zipfile_serialization=False)
    assert topics(path) == ["format"]


def test_damage_is_a_complaint(save):
    path = save(training_state())
    flip(path)
    assert "damage" in topics(path)


def test_tied_weights_are_no_live_reference(save):
    weight = torch.rand(30, 30)
    state = training_state() | {"model": {"emb.weight": weight, "head.decoder": weight}}
    assert topics(save(state)) == []


def test_what_is_not_possible(tmp_path, run, save):
    status, text = run("inspect", tmp_path / "no.pt")
    assert (status, "no such file" in text) == (2, True)
    (tmp_path / "text.pt").write_text("hello")
    assert run("verify", tmp_path / "text.pt")[0] == 1
    assert run("slim", save({}), tmp_path / "no" / "out.pt")[0] == 2
    found = json.loads(run("verify", "--json", tmp_path / "text.pt")[1])
    assert found["error"] == "NotACheckpointError"


def test_names_cannot_command_the_terminal(save, run):
    _, text = run("inspect", save({"\x1b]0;title\x07": torch.ones(1), "a\rb": 1}))
    assert "\x1b" not in text
    assert "\\x1b" in text
    assert "\r" not in text


def test_from_a_shell_colour_is_for_terminals_only(save, tmp_path):
    command = [sys.executable, "-m", "course_utils", "verify", save({"w": torch.ones(1)})]
    environment = os.environ | {"FORCE_COLOR": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.endswith("a.pt: whole\n")
    assert "\x1b" not in done.stdout


def test_a_file_of_gigabytes_is_inspected_without_reading_its_data(save, run):
    with torch.serialization.skip_data():  # leaves a hole where the data would be
        path = save({"w": torch.empty(2**29)})
    with reading() as meter:
        assert run("inspect", path)[0] == 0
        assert run("audit", path)[0] == 0
    assert meter.bytes is None or meter.bytes < 100_000
