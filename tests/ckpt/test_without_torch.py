"""``ckpt`` where torch cannot be imported: what it says is the same, byte for byte."""

import shutil
import subprocess
import sys
from pathlib import Path

import hostile
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from training import training_state

DATA = Path(__file__).parents[1] / "data" / "build_0_1"
WITH = "import sys; from course_utils.ckpt.main import main; sys.exit(main(sys.argv[1:]))"
WITHOUT = f"import sys; sys.modules['torch'] = None; {WITH}"  # None: importing it fails
COMMANDS = [
    ["inspect"], ["inspect", "--json"], ["verify"], ["verify", "--json", "--strict"],
    ["audit"], ["audit", "--json"], ["doctor"], ["doctor", "--json"],
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Files of every kind: those of an earlier build, healthy ones, sick ones, hostile ones."""
    folder = tmp_path_factory.mktemp("mixed")
    shutil.copytree(DATA, folder / "build_0_1", ignore=shutil.ignore_patterns("course_folder"))
    state = training_state()
    made = {
        "state.pt": state,
        "module.pt": nn.Linear(2, 2),
        "wrapped.pt": nn.DataParallel(nn.Linear(2, 2)).state_dict(),
        "nan.pt": {"w": torch.tensor([float("nan"), float("inf"), 1.0]).bfloat16()},
        "float8.pt": {"w": torch.ones(3).to(torch.float8_e5m2)},
        "slice.pt": {"w": torch.rand(9000)[:2], "t": torch.rand(3, 4).T},
        "sparse.pt": {"s": torch.eye(3).to_sparse(), "層": torch.ones(1)},
        "huge.pt": {"n": 10**5000, "inf": float("inf"), "words": {f"w{i}": i for i in range(999)}},
    }
    for name, content in made.items():
        torch.save(content, folder / name)
    torch.save(state, folder / "old.pt", _use_new_zipfile_serialization=False)
    save_file({"w": torch.ones(2)}, folder / "a.safetensors")
    (folder / "cut.pt").write_bytes((folder / "state.pt").read_bytes()[:-100])
    flipped = bytearray((folder / "nan.pt").read_bytes())
    flipped[-300] ^= 1
    (folder / "flipped.pt").write_bytes(flipped)
    evil = hostile.payloads(folder / "marker")["reduce"]
    (folder / "evil.pt").write_bytes(hostile.zip_checkpoint(b"\x80\x02" + evil + b"."))
    (folder / "empty.pt").touch()
    return folder


def run(program, *arguments):
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True)
    assert b"internal error" not in done.stdout + done.stderr
    return done.returncode, done.stdout, done.stderr


def test_the_import_really_fails():
    program = "import sys; sys.modules['torch'] = None; import torch"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "ModuleNotFoundError" in done.stderr


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_folder_of_mixed_files(folder, command):
    found = run(WITHOUT, *command, str(folder))
    assert found == run(WITH, *command, str(folder))
    assert found[1].count(b"\n") > 30
    assert not (folder / "marker").exists()


@pytest.mark.parametrize("command", COMMANDS[::2], ids=" ".join)
@pytest.mark.parametrize(
    "name", ["state.pt", "cut.pt", "evil.pt", "huge.pt", "a.safetensors", "build_0_1/traced.pt"]
)
def test_one_file(folder, command, name):
    assert run(WITHOUT, *command, str(folder / name)) == run(WITH, *command, str(folder / name))


@pytest.mark.parametrize("name", ["state.pt", "wrapped.pt", "module.pt", "old.pt", "cut.pt"])
def test_what_convert_writes(folder, tmp_path, name):
    out = tmp_path / "out.safetensors"
    results = []
    for program in (WITHOUT, WITH):
        results.append(run(program, "convert", str(folder / name), str(out)))
        results[-1] += (out.read_bytes() if out.exists() else None,)
        out.unlink(missing_ok=True)
    assert results[0] == results[1]


@pytest.mark.parametrize("name", ["state.pt", "wrapped.pt", "slice.pt", "old.pt", "flipped.pt"])
@pytest.mark.parametrize("command", ["slim", "strip-prefix", "rescue"])
def test_what_is_written_anew(folder, tmp_path, command, name):
    out = tmp_path / "out.pt"
    results = []
    for program in (WITHOUT, WITH):
        results.append(run(program, command, str(folder / name), str(out)))
        results[-1] += (out.read_bytes() if out.exists() else None,)
        out.unlink(missing_ok=True)
    assert results[0] == results[1]


@pytest.mark.parametrize("second", ["state.pt", "nan.pt", "float8.pt", "sparse.pt", "huge.pt"])
def test_what_differs(folder, second):
    pair = ("diff", "--json", str(folder / "build_0_1" / "dtypes.pt"), str(folder / second))
    assert run(WITHOUT, *pair) == run(WITH, *pair)


def test_no_command_imports_torch_where_it_is_there(folder):
    program = f"{WITH.partition('sys.exit')[0]}main(sys.argv[1:]); sys.exit('torch' in sys.modules)"
    for command in COMMANDS[::2]:
        assert run(program, *command, str(folder))[0] == 0
