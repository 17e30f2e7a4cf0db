"""The command ``ckpt``: what it prints, its exit status, and the copies it writes."""

import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import zipfile
from pathlib import Path

import hostile
import pytest
import torch
from torch import nn
from training import training_state

from course_utils.ckpt import verify as verify_command
from course_utils.ckpt.commands import COMMANDS
from course_utils.ckpt.diff import diff
from course_utils.ckpt.main import main
from course_utils.ckpt.slim import slim
from course_utils.ckpt.strip_prefix import strip_prefix
from course_utils.errors import CheckpointWriteError, MismatchedCheckpointError
from course_utils.files.contents import open_contents
from course_utils.formats import elements
from course_utils.lessons.measure import reading
from course_utils.resume.compare import differences
from course_utils.safety import convert

CKPT = [sys.executable, "-m", "course_utils"]
DATA = Path(__file__).parents[1] / "data" / "build_0_1"


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


@pytest.fixture
def run_json(run):
    def run_json(command, *arguments):
        status, text = run(command, "--json", *arguments)
        found = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
        assert (found["schema"], found["command"], found["status"]) == (1, command, status)
        assert status == max((file["status"] for file in found["files"]), default=0)
        return status, found["files"]

    return run_json


def flip(path):
    record = open_contents(path).records["data/0"]
    with open(path, "r+b") as file:
        file.seek(record.offset + 1)
        byte = file.read(1)[0]
        file.seek(record.offset + 1)
        file.write(bytes([byte ^ 0x10]))


# What each command prints


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
        ["weights", "under:", "m", "(`ckpt", "convert", "--key", "m`", "takes", "them", "alone)"],
    ]


def test_a_checkpoint_converted_to_one_keeps_its_values(save, run, tmp_path):
    status, _ = run("convert", save({"m": {"a": torch.ones(2)}, "epoch": 7}), tmp_path / "b.pt")
    assert status == 0
    assert torch.load(tmp_path / "b.pt")["epoch"] == 7


def test_inspect_as_json(save, run_json):
    state = {"m": {"a": torch.ones(2, 3), "c": torch.ones(2, dtype=torch.complex64).conj()}}
    (status, (found,)) = run_json("inspect", save(state | {"epoch": 7}))
    assert status == 0
    assert found["tensors"][0]["name"] == "m.a"
    assert found["tensors"][0]["shape"] == [2, 3]
    assert [tensor["conjugate"] for tensor in found["tensors"]] == [False, True]
    assert found["values"] == {"epoch": 7}


def test_inspect_shows_what_it_cannot_read(save, run, run_json):
    state = {"s": torch.eye(3).to_sparse(), "a": {"b": torch.ones(1)}, "a.b": torch.ones(2)}
    path = save(state)
    _, text = run("inspect", path)
    assert "<sparse_coo>" in text
    assert "s: sparse_coo, not read: its layout is sparse" in text
    assert "more than one tensor has the name a.b;" in text
    _, (found,) = run_json("inspect", path)
    assert [(o["name"], o["class"], o["shape"]) for o in found["other_tensors"]] == [
        ("s", "sparse_coo", [3, 3])
    ]
    assert found["collided"] == ["a.b"]


def test_inspect_lists_the_records_of_programs(run):
    status, text = run("inspect", DATA / "scripted.pt")
    assert status == 0
    assert "a TorchScript program of" in text
    assert "constants.pkl" in text
    assert "load_script" in text
    status, text = run("inspect", DATA / "program.pt2")
    assert (status, "an exported program of" in text) == (0, True)


def test_inspect_of_another_format_says_what_it_is(tmp_path, run):
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
        archive.writestr("x/y.txt", b"123")
    status, text = run("inspect", tmp_path / "a.pt")
    assert status == 2
    assert "a zip file of" in text
    assert "without data.pkl" in text
    assert run("inspect", tmp_path)[0] == 0  # found in a folder it changes nothing


def test_verify_names_what_is_damaged(save, run, run_json):
    path = save(training_state())
    assert run("verify", path)[0] == 0
    flip(path)
    status, text = run("verify", path)
    assert status == 1
    assert "data/0" in text
    assert "model.0.weight" in text
    (finding,) = run_json("verify", path)[1][0]["findings"]
    assert finding["record"] == "data/0"
    assert finding["tensors"] == ["model.0.weight"]
    assert finding["severity"] == "error"


def test_verify_says_what_it_cannot_know(run):
    path = DATA / "model.safetensors"
    status, text = run("verify", path)
    assert status == 0
    assert text.startswith(f"{path}: readable, not verifiable\n")
    assert "has no checksums" in text
    assert run("verify", "--strict", path)[0] == 1
    assert run("verify", "--strict", DATA / "plain.pt")[0] == 0


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


def test_diff(save, run, run_json):
    a, b = training_state(), training_state()
    assert run("diff", save(a), save(b, "b.pt"))[0] == 0
    b["model"]["0.weight"][1, 2] += 0.5
    b["model"]["0.bias"] = b["model"]["0.bias"].double()
    b["model"]["1.weight"] = torch.ones(4)
    del b["model"]["1.bias"]
    b["extra"] = torch.tensor([float("nan")])
    b["epoch"] = 4
    status, (found,) = run_json("diff", save(a), save(b, "b.pt"))
    found = {(c["name"], c["what"]): (c["detail"], c["largest"]) for c in found["differences"]}
    assert status == 1
    assert found == {
        ("model.0.weight", "elements"): ("1 of 12", pytest.approx(0.5)),
        ("model.0.bias", "dtype"): ("float32 and float64", None),
        ("model.1.weight", "shape"): ("(3,) and (4,)", None),
        ("model.1.bias", "only in the first"): ("float32 (3,)", None),
        ("extra", "only in the second"): ("float32 (1,)", None),
        ("epoch", "value"): ("3 and 4", None),
    }


def test_diff_tells_minus_zero_and_nan_and_reads_in_blocks(save, run_json, monkeypatch):
    monkeypatch.setattr(elements, "BLOCK", 64)
    one = torch.arange(100.0)
    two = one.clone()
    two[99] = float("nan")
    state = {"w": one, "z": torch.tensor([0.0]), "t": one.view(10, 10).T, "n": two}
    changed = {"w": two, "z": torch.tensor([-0.0]), "t": one.view(10, 10).T.contiguous(), "n": two}
    paths = save(state), save(changed, "b.pt")
    found = {c.name: (c.detail, c.largest) for c in diff(*paths, ignore=["layout", "sharing"])}
    assert found["w"] == ("1 of 100", pytest.approx(float("nan"), nan_ok=True))
    assert found["z"] == ("1 of 1", 0.0)
    assert set(found) == {"w", "z"}
    assert {c.name for c in diff(*paths)} == {"w", "z", "t", "n"}  # strides, and shared memory
    _, (report,) = run_json("diff", *paths)
    assert report["differences"][0]["largest"] == "NaN"


def test_slim(save, tmp_path, run):
    state = {"a": torch.rand(100_000)[:5], "b": torch.rand(3), "n": 3}
    status, text = run("slim", save(state), tmp_path / "out.pt")
    assert status == 0
    assert "instead of 40" in text
    assert (tmp_path / "out.pt").stat().st_size < 4000
    assert not differences(torch.load(tmp_path / "out.pt"), state)
    assert slim(tmp_path / "out.pt", tmp_path / "again.pt").after < 4000


def test_strip_prefix_keeps_the_versions_of_modules(save, tmp_path):
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    wrapped = nn.DataParallel(model).state_dict()
    strip_prefix(save({"model": wrapped, "list": [1, (2,)]}), tmp_path / "out.pt")
    loaded = torch.load(tmp_path / "out.pt")
    assert not differences(loaded["model"], model.state_dict())
    assert loaded["model"]._metadata["1"] == {"version": 2}
    assert loaded["list"] == [1, (2,)]
    model.load_state_dict(loaded["model"])


def test_inspect_names_a_module_that_was_pickled_whole(save, run, run_json):
    path = save({"model": nn.Linear(2, 2)})
    words = "model is a pickled module of class torch.nn.modules.linear.Linear"
    assert words in run("inspect", path)[1]
    found = run_json("inspect", path)[1][0]
    assert found["modules"] == {"model": "torch.nn.modules.linear.Linear"}


def test_strip_prefix_of_ones_own_and_refusals(save, tmp_path, run):
    path, out = save({"net.w": torch.ones(1), "w": torch.ones(2)}), tmp_path / "out.pt"
    with pytest.raises(MismatchedCheckpointError, match="one name"):
        strip_prefix(path, out, "net.")
    with pytest.raises(MismatchedCheckpointError, match="no key has a prefix"):
        strip_prefix(path, out)
    path = save({"net.w": torch.ones(1)})
    assert run("strip-prefix", path, out, "--prefix", "net.")[0] == 0
    assert list(torch.load(out)) == ["w"]


def test_convert(save, tmp_path, run_json):
    out = tmp_path / "out.safetensors"
    status, (found,) = run_json("convert", save({"w": torch.ones(2), "s": {1}}), out)
    assert (status, found["tensors"], found["left_out"]) == (0, 1, ["s"])
    assert out.exists()


# Files, folders, patterns


@pytest.fixture
def mixed(tmp_path, save):
    """A folder: two sound files, one damaged, one text, and what is hidden."""
    (tmp_path / "runs" / "late").mkdir(parents=True)
    (tmp_path / "runs" / ".git").mkdir()
    save({"w": torch.ones(2)}, "runs/a.pt")
    save({"w": torch.ones(2)}, "runs/late/b.pt")
    save({"w": torch.ones(2)}, "runs/late/bad.pt")
    (tmp_path / "runs" / "notes.txt").write_text("hello")
    (tmp_path / "runs" / ".git" / "x").write_text("hidden")
    (tmp_path / "runs" / ".saving-1.tmp").write_text("hidden")
    return tmp_path / "runs"


def test_a_folder_gets_a_line_a_file_and_a_summary(mixed, run):
    status, text = run("verify", mixed)
    lines = text.splitlines()
    assert status == 0
    assert [line.split(": ")[0] for line in lines[:-1]] == [
        str(mixed / name) for name in ("a.pt", "notes.txt", "late/b.pt", "late/bad.pt")
    ]
    assert lines[1].endswith(": not a checkpoint")
    assert lines[-1] == "4 files: 3 sound; 1 not a checkpoint"
    flip(mixed / "late" / "bad.pt")
    status, text = run("verify", mixed)
    assert status == 1
    assert "data/0" in text
    assert text.splitlines()[-1] == "4 files: 2 sound; 1 not a checkpoint; 1 damaged"


@pytest.mark.parametrize("command", ["inspect", "verify", "audit", "doctor"])
def test_every_command_takes_many(mixed, run_json, command):
    flip(mixed / "late" / "bad.pt")
    status, files = run_json(command, mixed, mixed / "a.pt")
    assert [Path(file["file"]).name for file in files] == [
        "a.pt", "notes.txt", "b.pt", "bad.pt", "a.pt",
    ]  # fmt: skip
    assert files[1]["verdict"] == "not a checkpoint"
    damaged = command in ("verify", "doctor")
    assert [file["status"] for file in files] == [0, 0, 0, int(damaged), 0]
    assert status == int(damaged)


def test_patterns(mixed, run_json):
    _, files = run_json("verify", mixed / "**" / "*.pt")
    assert [Path(file["file"]).name for file in files] == ["a.pt", "b.pt", "bad.pt"]
    status, files = run_json("verify", mixed / "*.safetensors")
    assert (status, files[0]["error"]["type"]) == (2, "MissingCheckpointError")


def test_a_name_with_signs_of_a_pattern_is_a_name(save, run):
    assert run("verify", save({"w": torch.ones(1)}, "a[1].pt"))[0] == 0


def test_the_worst_status_wins_and_all_files_are_looked_at(mixed, run_json):
    flip(mixed / "late" / "bad.pt")
    status, files = run_json("verify", mixed / "no.pt", mixed)
    assert (status, len(files)) == (2, 5)


def test_a_folder_without_a_file_is_an_error(tmp_path, run):
    (tmp_path / ".hidden").write_text("x")
    status, text = run("verify", tmp_path)
    assert (status, "there is no file in this folder" in text) == (2, True)


def test_a_distributed_folder_is_one_line_among_others(run):
    status, text = run("verify", DATA / "sharded", DATA / "plain.pt")
    assert status == 0
    assert [line.partition(": ")[2] for line in text.splitlines()[:2]] == [
        "sound, 2 records agree with their checksums",
        "sound, 8 records agree with their checksums",
    ]


def test_a_folder_that_cannot_be_read(mixed, run_json, monkeypatch):
    real = os.scandir

    def scandir(path):
        if str(path).endswith("late"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    status, files = run_json("verify", mixed)
    assert status == 2
    assert [Path(file["file"]).name for file in files] == ["a.pt", "notes.txt", "late"]


# What cannot be done


def test_what_is_not_possible(tmp_path, run, run_json, save):
    status, text = run("inspect", tmp_path / "no.pt")
    assert (status, "no such file" in text) == (2, True)
    (tmp_path / "text.pt").write_text("hello")
    assert run("verify", tmp_path / "text.pt")[0] == 2
    assert run("audit", tmp_path / "text.pt")[0] == 2
    assert run("slim", save({}), tmp_path / "no" / "out.pt")[0] == 2
    _, (found,) = run_json("verify", tmp_path / "text.pt")
    assert found["error"]["type"] == "NotACheckpointError"


def test_what_makes_no_sense_is_not_rewritten(tmp_path, run):
    path, out = tmp_path / "a.pt", tmp_path / "out.pt"
    path.write_bytes(hostile.zip_checkpoint(b"\x80\x02" + hostile.tensor(shape=(5,)) + b"."))
    status, text = run("slim", path, out)
    assert (status, "damaged" in text, "by its checksum" in text) == (2, False, True)
    assert not out.exists()


@pytest.mark.parametrize("command", ["convert", "slim", "strip-prefix"])
def test_no_file_is_replaced_unless_asked(save, tmp_path, run, command):
    path, out = save({"module.w": torch.ones(2)}), tmp_path / "out.bin"
    out.write_text("precious")
    status, text = run(command, path, out)
    assert (status, "--force" in text) == (2, True)
    assert out.read_text() == "precious"
    assert run(command, "--force", path, out)[0] == 0
    assert run("inspect", out)[0] == 0


@pytest.mark.parametrize("command", ["convert", "slim", "strip-prefix"])
@pytest.mark.parametrize("name", ["a.pt", "link.pt", "hard.pt", "./x/../a.pt"])
def test_no_file_is_ever_written_over_itself(save, tmp_path, run, command, name):
    path = Path(save({"module.w": torch.ones(2)}))
    (tmp_path / "x").mkdir()
    (tmp_path / "link.pt").symlink_to(path)
    os.link(path, tmp_path / "hard.pt")
    before = path.read_bytes()
    status, text = run(command, "--force", path, f"{tmp_path}/{name}")
    assert (status, "would be lost" in text) == (2, True)
    assert path.read_bytes() == before


@pytest.mark.parametrize("function", [convert, slim, strip_prefix])
def test_the_functions_ask_as_well(save, tmp_path, function):
    path, out = save({"module.w": torch.ones(2)}), tmp_path / "out.bin"
    function(path, out)
    with pytest.raises(CheckpointWriteError, match="overwrite=True"):
        function(path, out)
    function(path, out, overwrite=True)
    with pytest.raises(CheckpointWriteError, match="lost"):
        function(path, path, overwrite=True)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["inspct", "a.pt"], "did you mean 'inspect'?"),
        (["strip_prefix", "a.pt"], "did you mean 'strip-prefix'?"),
        (["verify", "--strct", "a.pt"], "did you mean '--strict'?"),
        (["frobnicate"], "there is no command 'frobnicate'\n"),
        (["verify"], "FILES"),
        ([], "COMMAND"),
        (["completion", "tcsh"], "bash"),
    ],
)
def test_wrong_usage(run, arguments, expected):
    status, text = run(*arguments)
    assert status == 2
    assert expected in text
    assert "Traceback" not in text


def test_help_and_version(run):
    status, text = run("--help")
    assert status == 0
    assert all(command in text for command in COMMANDS)
    assert "exit status" in text
    for command in COMMANDS:
        status, text = run(command, "--help")
        assert (status, f"  ckpt {command} " in text) == (0, True)
    status, text = run("--version")
    assert (status, text.startswith("ckpt ")) == (0, True)


def test_a_fault_of_ours_is_one_line(save, run, run_json, monkeypatch):
    def fail(options):
        raise IndexError("of the house")

    monkeypatch.setattr(verify_command, "report", fail)
    paths = save({"w": torch.ones(1)}), save({}, "b.pt")
    status, text = run("verify", paths[0])
    assert status == 2
    assert text.count("\n") == 1
    assert "internal error, please report it: IndexError: of the house (test_main.py" in text
    status, files = run_json("verify", *paths)
    assert (status, len(files)) == (2, 2)


# In a shell


def test_from_a_shell_colour_is_for_terminals_only(save):
    command = [*CKPT, "verify", save({"w": torch.ones(1)})]
    environment = os.environ | {"FORCE_COLOR": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert "a.pt: sound" in done.stdout
    assert "\x1b" not in done.stdout


def on_a_terminal(command, columns=80, **environment):
    """Run a command on a terminal; return its status and what it shows."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    wanted = {**os.environ, "TERM": "xterm", **environment}
    wanted.pop("COLUMNS", None)
    process = subprocess.Popen(command, stdout=theirs, stderr=theirs, stdin=theirs, env=wanted)
    os.close(theirs)
    shown = b""
    try:
        while part := os.read(ours, 65536):
            shown += part
    except OSError:  # how Linux says that the other end is closed
        pass
    os.close(ours)
    return process.wait(), shown.decode().replace("\r\n", "\n")


def test_on_a_terminal_lines_are_coloured_and_fit(save):
    path = save({"a." + "long" * 30 + ".name": torch.ones(1), "層": torch.ones(2)})
    status, shown = on_a_terminal([*CKPT, "inspect", path], columns=70)
    assert status == 0
    assert shown.startswith("\x1b[1;32m")
    assert all(len(line) <= 70 for line in shown.splitlines()[1:])
    assert "".join(line.split()[0] for line in shown.splitlines()[3:5]).startswith("longlong")
    assert "\x1b" not in on_a_terminal([*CKPT, "inspect", path], NO_COLOR="1")[1]


def test_output_that_nobody_reads_is_no_error(save):
    path = save({f"w{i}": torch.ones(1) for i in range(3000)})
    done = subprocess.run(
        f"{sys.executable} -m course_utils inspect {path} | head -1; exit ${{PIPESTATUS[0]}}",
        shell=True, executable="/bin/bash", capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


def test_output_that_cannot_be_written(save):
    if not os.path.exists("/dev/full"):
        pytest.skip("this system has no /dev/full")
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*CKPT, "verify", save({"w": torch.ones(1)})], stdout=full, stderr=subprocess.PIPE,
            text=True, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "cannot be written" in done.stderr


def test_an_interrupt_is_no_traceback(tmp_path):
    path = tmp_path / "endless.pt"
    os.mkfifo(tmp_path / "pipe")
    program = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # nohup has it ignored
        "from course_utils.ckpt import verify\n"
        "from course_utils.ckpt.main import main\n"
        "verify.report = lambda options: (print('now', flush=True), time.sleep(60))\n"
        f"sys.exit(main(['verify', {str(path)!r}]))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "now\n"
    process.send_signal(signal.SIGINT)
    out, error = process.communicate(timeout=30)
    assert (process.returncode, out, error) == (130, "", "ckpt: interrupted\n")


def test_an_encoding_that_lacks_a_letter(save):
    done = subprocess.run(
        [*CKPT, "inspect", save({"層": torch.ones(1)})], capture_output=True, check=False,
        env=os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"},
    )  # fmt: skip
    assert done.returncode == 0
    assert b"\\u5c64" in done.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_names_every_command_and_option(run, shell):
    status, text = run("completion", shell)
    assert status == 0
    for name, command in COMMANDS.items():
        assert name in text
        for option in command.options:
            assert option.name.removeprefix("--") in text


def test_bash_completes(tmp_path, run):
    (tmp_path / "model.pt").touch()
    _, script = run("completion", "bash")

    def completed(*words):
        program = (
            f"{script}\nCOMP_WORDS=({' '.join(map(repr, words))}); "
            f"COMP_CWORD={len(words) - 1}; _ckpt; printf '%s\\n' \"${{COMPREPLY[@]}}\""
        )
        done = subprocess.run(
            ["bash", "-c", program], capture_output=True, text=True, check=True, cwd=tmp_path
        )
        return done.stdout.split()

    assert completed("ckpt", "ver") == ["verify"]
    assert completed("ckpt", "verify", "--s") == ["--strict"]
    assert completed("ckpt", "verify", "mo") == ["model.pt"]
    assert completed("ckpt", "completion", "f") == ["fish"]


def test_starting_imports_nothing_heavy():
    program = "import sys\nfrom course_utils.ckpt.main import main\nmain(['--help'])\n" + (
        "heavy = {'torch', 'numpy', 'rich', 'safetensors', 'asyncio', 'tqdm', 'logging'}\n"
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_file_of_gigabytes_is_inspected_without_reading_its_data(save, run):
    with torch.serialization.skip_data():  # leaves a hole where the data would be
        path = save({"w": torch.empty(2**29)})
    with reading() as meter:
        assert run("inspect", path)[0] == 0
        assert run("audit", path)[0] == 0
    assert meter.bytes is None or meter.bytes < 100_000


@pytest.mark.parametrize("command", ["verify", "diff", "convert", "slim", "rescue"])
def test_a_bar_shows_what_takes_long(save, tmp_path, command):
    path = save({"w": torch.ones(3_000_000)})
    second = {"verify": [], "diff": [path]}.get(command, [str(tmp_path / "out.safetensors")])
    program = [
        sys.executable, "-c",
        "import sys\nfrom course_utils.ckpt import progress\nprogress.PATIENCE = 0\n"
        "from course_utils.ckpt.main import main\nsys.exit(main(sys.argv[1:]))",
        command, path, *second,
    ]  # fmt: skip
    status, shown = on_a_terminal(program)
    assert status == 0
    assert "B/s" in shown
    last = shown.rstrip("\n").rpartition("\r")[2]
    assert "\x1b[0m" in last
    assert "B/s" not in last
    for written in second[:1] if command not in ("verify", "diff") else []:
        os.unlink(written)
    done = subprocess.run(program, capture_output=True, text=True, check=True)
    assert done.stderr == ""
