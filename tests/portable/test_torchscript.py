"""Exports are checked before they are written; the trap gallery, wrong and right; C++ agrees."""

import shutil
import subprocess
import zipfile

import pytest
import torch
from torch import nn
from torch.nn.functional import dropout

from course_utils.errors import (
    CheckpointWriteError,
    DamagedCheckpointError,
    DisagreementError,
    MissingCheckpointError,
    NotACheckpointError,
)
from course_utils.lessons import traps
from course_utils.lessons.models import DigitsCNN
from course_utils.portable.cpp_runner import (
    CPP,
    TORCH,
    NoCompilerError,
    build_runner,
    find_compiler,
    run_in_cpp,
)
from course_utils.portable.torchscript import export_script, inspect_script, load_script, quiet

X = torch.rand(4, 3) + 1
IMAGES = torch.rand(4, 1, 8, 8)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.pt"


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    path = tmp_path_factory.mktemp("script") / "model.pt"
    torch.manual_seed(0)
    model = DigitsCNN(dropout=0.5)
    export_script(model, IMAGES, path, extra_files={"classes.txt": "zero\none\nzwölf"})
    return model.eval(), path


@pytest.mark.parametrize(
    ("module", "mode"),
    [
        (traps.BranchOnData(), "trace"),
        (traps.LoopOverBatch(), "trace"),
        (traps.CountsInPython(), "trace"),
    ],
)
def test_a_trace_that_lies_is_refused_and_nothing_is_written(module, mode, path):
    with pytest.raises(DisagreementError, match=type(module).__name__):
        export_script(module, X, path, mode=mode)
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("module", [traps.BranchOnData(), traps.LoopOverBatch()])
def test_the_plain_call_writes_the_lie(module, path):
    """What `export_script` is for: torch's own call takes any trace."""
    with quiet():
        torch.jit.trace(module, X, check_trace=False).save(path)
        loaded = torch.jit.load(path)
        other = -X[:2]
        try:
            wrong = not torch.equal(loaded(other), module(other))
        except RuntimeError:
            wrong = True
    assert wrong


@pytest.mark.parametrize(
    ("module", "mode"),
    [
        (traps.BranchOnData(), "script"),
        (traps.BranchInTensors(), "trace"),
        (traps.LoopOverBatch(), "script"),
        (traps.NoLoop(), "trace"),
        (traps.DeviceConstant(), "script"),
        (traps.DeviceFromBuffer(3), "trace"),
        (traps.CountsInPython(), "script"),
        (traps.CountsInBuffer(), "trace"),
    ],
)
def test_the_right_way_passes(module, mode, path, recwarn):
    export_script(module, X, path, mode=mode)
    loaded = load_script(path).module
    assert torch.equal(loaded(-X), module(-X))
    assert not [w for w in recwarn if "names the device" in str(w.message)]


def test_a_device_in_the_code_is_a_warning(path):
    with pytest.warns(UserWarning, match="names the device cpu"):
        export_script(traps.DeviceConstant(), X, path, mode="trace")


def test_dropout_stays_on_after_eval_if_traced_in_training_mode():
    class AlwaysDrops(nn.Module):
        def forward(self, x):
            return dropout(x, 0.5, training=self.training)

    with quiet():
        wrong = torch.jit.trace(AlwaysDrops().train(), X, check_trace=False).eval()
        right = torch.jit.trace(AlwaysDrops().eval(), X)
    assert not torch.equal(wrong(X), X)
    assert torch.equal(right(X), X)


def test_the_export_is_in_eval_mode_and_the_module_keeps_its_own(path):
    model = DigitsCNN(dropout=0.5).train()
    model.features[0].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    export_script(model, IMAGES, path)
    assert [model.training, model.features.training] == [True, True]
    assert model.features[0].training is False
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(load_script(path).module(IMAGES), model.eval()(IMAGES))


def test_the_probes_do_not_change_the_counter_that_is_saved(path):
    export_script(traps.CountsInBuffer(), X, path, mode="trace")
    assert torch.equal(load_script(path).module(X), X + 1)


def test_probes_of_your_own_reach_rare_branches(path):
    class Rare(nn.Module):
        def forward(self, x):
            return x * 2 if x.max() > 1000 else x

    export_script(Rare(), X, path)
    with pytest.raises(DisagreementError, match="your probe 0"):
        export_script(Rare(), X, path, probes=[(X * 10_000,)])
    assert torch.equal(load_script(path).module(X), X), "the file of the first call is untouched"


def test_metadata_and_texts_come_back(exported):
    _, path = exported
    script = load_script(path)
    assert script.metadata["inputs"] == [{"shape": ["batch", 1, 8, 8], "dtype": "float32"}]
    assert script.metadata["mode"] == "trace"
    assert script.metadata["torch"] == torch.__version__
    assert script.extra_files == {"classes.txt": "zero\none\nzwölf"}


def test_a_file_of_plain_torch_has_no_metadata(path):
    with quiet():
        torch.jit.script(nn.ReLU()).save(path)
    script = load_script(path)
    assert (script.metadata, script.extra_files) == ({}, {})


def test_inspecting_lists_code_without_running_it(exported, monkeypatch):
    monkeypatch.setattr(torch.jit, "load", None)
    report = inspect_script(exported[1])
    assert any("models" in name and "def forward" in code for name, code in report.code.items())
    assert report.records["constants.pkl"] == 4
    assert set(report.extra_files) == {"metadata.json", "classes.txt"}


def test_a_script_can_write_when_it_is_loaded_and_inspecting_shows_it(path):
    marker = path.with_name("was here")
    with quiet():
        torch.jit.script(traps.WritesWhenLoaded(str(marker))).save(path)
    (code,) = inspect_script(path).code.values()
    assert "torch.from_file(" in code
    assert not marker.exists()
    load_script(path)
    assert marker.exists()


@pytest.mark.parametrize("load", [load_script, inspect_script])
def test_what_is_no_script_is_refused(load, tmp_path, exported):
    with pytest.raises(MissingCheckpointError):
        load(tmp_path / "missing.pt")
    with pytest.raises(NotACheckpointError, match="folder"):
        load(tmp_path)
    (tmp_path / "text.pt").write_text("hello")
    with pytest.raises(NotACheckpointError, match="not a zip"):
        load(tmp_path / "text.pt")
    torch.save({"w": X}, tmp_path / "checkpoint.pt")
    with pytest.raises(NotACheckpointError, match="load_checkpoint"):
        load(tmp_path / "checkpoint.pt")
    whole = exported[1].read_bytes()
    (tmp_path / "cut.pt").write_bytes(whole[:-500])
    with pytest.raises(DamagedCheckpointError, match="cut off"):
        load(tmp_path / "cut.pt")
    with zipfile.ZipFile(exported[1]) as archive:
        largest = max(archive.infolist(), key=lambda entry: entry.file_size)
    flipped = bytearray(whole)
    flipped[largest.header_offset + largest.file_size // 2] ^= 1
    (tmp_path / "flipped.pt").write_bytes(flipped)
    with pytest.raises(DamagedCheckpointError, match=largest.filename):
        load(tmp_path / "flipped.pt")


@pytest.mark.parametrize("text", ["yaml: true", '["a list"]', ""])
def test_what_others_call_metadata_is_a_text_of_theirs(text, path):
    with quiet():
        script = torch.jit.script(nn.ReLU())
        torch.jit.save(script, path, _extra_files={"metadata.json": text})
    loaded = load_script(path)
    assert (loaded.metadata, loaded.extra_files) == ({}, {"metadata.json": text})


def test_an_archive_packed_by_another_program_is_no_script_and_not_damaged(tmp_path):
    with zipfile.ZipFile(tmp_path / "lzma.zip", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("code/a.py", "x = 1\n" * 99)
    data = bytearray((tmp_path / "lzma.zip").read_bytes())
    for signature, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        data[data.index(signature) + offset] |= 1  # encrypted
    (tmp_path / "encrypted.zip").write_bytes(data)
    with pytest.raises(NotACheckpointError, match="that torch did not write"):
        inspect_script(tmp_path / "encrypted.zip")


def test_a_folder_that_is_missing_is_a_write_error(tmp_path):
    with pytest.raises(CheckpointWriteError, match="nowhere"):
        export_script(nn.ReLU(), X, tmp_path / "nowhere" / "model.pt")


def compiler():
    try:
        return find_compiler()
    except NoCompilerError:
        return None


needs_compiler = pytest.mark.skipif(compiler() is None, reason="no C++ compiler here")


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    return build_runner(tmp_path_factory.mktemp("cpp"))


@needs_compiler
@pytest.mark.parametrize("size", [1, 4, 33])
def test_cpp_gives_the_same_bits(exported, program, tmp_path, size):
    model, path = exported
    torch.set_num_threads(1)
    images = torch.rand(size, 1, 8, 8)
    with torch.no_grad():
        expected = model(images)
    assert torch.equal(run_in_cpp(program, path, images, tmp_path), expected)


@needs_compiler
def test_a_second_build_is_not_needed(program, monkeypatch):
    monkeypatch.setattr(subprocess, "run", None)
    assert build_runner(program.parent) == program


@needs_compiler
@pytest.mark.parametrize("broken", ["missing", "not a module", "wrong shape"])
def test_the_program_says_what_is_wrong(exported, program, tmp_path, broken):
    path, images = exported[1], IMAGES
    if broken == "missing":
        path = tmp_path / "nowhere.pt"
    elif broken == "not a module":
        path = tmp_path / "text.pt"
        path.write_text("hello")
    else:
        images = torch.rand(4, 5)
    with pytest.raises(RuntimeError, match="the C\\+\\+ program failed: run_module: "):
        run_in_cpp(program, path, images, tmp_path)


@needs_compiler
def test_a_compiler_that_fails_is_quoted(tmp_path, monkeypatch):
    fake = tmp_path / "old-compiler"
    fake.write_text("#!/bin/sh\necho 'unrecognized option -std=c++20' >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("CXX", str(fake))
    with pytest.raises(NoCompilerError, match=r"(?s)needs C\+\+20.*unrecognized option"):
        build_runner(tmp_path)


def test_no_compiler_says_how_to_get_one(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(NoCompilerError, match="apt install"):
        build_runner(tmp_path)


@pytest.mark.skipif(shutil.which("cmake") is None, reason="no cmake here")
@needs_compiler
def test_cmake_builds_it_too(exported, tmp_path):
    build = tmp_path / "build"
    subprocess.run(["cmake", "-S", CPP, "-B", build, f"-DTORCH_HOME={TORCH}"], check=True)
    subprocess.run(["cmake", "--build", build], check=True)
    model, path = exported
    with torch.no_grad():
        expected = model(IMAGES)
    assert torch.equal(run_in_cpp(build / "run_module", path, IMAGES, tmp_path), expected)
