"""Programs, packages and ONNX files compute what the module computes, or are not written."""

import io
import json
import os
import subprocess
import sys
import threading
import warnings
import zipfile
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from torch import nn

from course_utils.errors import (
    CheckpointWriteError,
    DamagedCheckpointError,
    DisagreementError,
    MissingCheckpointError,
    NotACheckpointError,
    NotExportableError,
    UnsafeCheckpointError,
    UnsupportedCheckpointError,
)
from course_utils.lessons import traps
from course_utils.lessons.models import DigitsCNN
from course_utils.portable import export
from course_utils.portable.cpp_runner import (
    NoCompilerError,
    build_runner,
    find_compiler,
    run_in_cpp,
)
from course_utils.portable.export import compile_package, export_onnx, export_program
from course_utils.portable.load import load_onnx, load_package, load_program

X = torch.rand(4, 3) + 1
IMAGES = torch.rand(4, 1, 8, 8)


class BranchOnSize(nn.Module):
    def forward(self, x):
        return x * 2 if x.shape[0] > 8 else x


class TwoToDict(nn.Module):
    def forward(self, a, b):
        return {"sum": a + b, "product": (a * b).relu()}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.pt2"


def digits_model():
    torch.manual_seed(0)
    return DigitsCNN(dropout=0.5)


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    path = tmp_path_factory.mktemp("program") / "model.pt2"
    model = digits_model()
    export_program(model, IMAGES, path)
    return model.eval(), path


@pytest.mark.parametrize(
    ("module", "error"),
    [
        (traps.BranchOnData(), NotExportableError),
        (traps.LoopOverBatch(), NotExportableError),
        (BranchOnSize(), NotExportableError),
        (traps.CountsInPython(), DisagreementError),
    ],
)
@pytest.mark.parametrize("write", [export_program, export_onnx])
def test_what_would_lie_is_refused_and_the_old_file_stays(write, module, error, path):
    path.write_text("old")
    with pytest.raises(error, match=type(module).__name__):
        write(module, X, path)
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    assert path.read_text() == "old"


@pytest.mark.parametrize(
    "module",
    [
        traps.BranchInTensors(),
        traps.BranchWithCond(),
        traps.NoLoop(),
        traps.DeviceFromBuffer(3),
        traps.CountsInBuffer(),
    ],
)
def test_the_right_way_passes(module, path, recwarn):
    export_program(module, X, path)
    loaded = load_program(path).module()
    assert torch.equal(loaded(-X[:2]), module(-X[:2]))
    assert not [w for w in recwarn if "on the device" in str(w.message)]


def test_plain_torch_writes_state_in_python_as_a_constant(path):
    module = traps.CountsInPython()
    torch.export.save(torch.export.export(module, (X,)), path)
    loaded = torch.export.load(path).module()
    assert torch.equal(module(X), X + 1)
    assert torch.equal(module(X), X + 2)
    assert torch.equal(loaded(X), X + 1)
    assert torch.equal(loaded(X), X + 1)


def test_a_device_in_the_program_is_a_warning(path):
    with pytest.warns(UserWarning, match="DeviceConstant.*device cpu"):
        export_program(traps.DeviceConstant(), X, path)


def test_the_export_is_in_eval_mode_and_the_module_keeps_its_own(path):
    model = digits_model().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    export_program(model, IMAGES, path)
    assert model.training
    assert model.dropout.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    loaded = load_program(path, trusted=True).module()
    assert torch.equal(loaded(IMAGES), model.eval()(IMAGES))


@pytest.mark.parametrize("size", [1, 2, 33, 3000])
def test_the_batch_size_stays_free(program, size):
    model, path = program
    images = torch.rand(size, 1, 8, 8)
    assert torch.equal(load_program(path, trusted=True).module()(images), model(images))


def test_an_example_of_one_row_is_enough(path):
    export_program(nn.Linear(3, 2), X[:1], path)
    assert load_program(path, trusted=True).module()(X).shape == (4, 2)


def test_the_file_holds_neither_source_paths_nor_the_example(path):
    secret = torch.full((2, 3), 123.456)
    export_program(nn.Linear(3, 2), secret, path)
    with zipfile.ZipFile(path) as archive:
        content = b"".join(archive.read(name) for name in archive.namelist())
    assert secret.numpy().tobytes() not in content
    assert b".py" not in content


def test_plain_torch_stores_both(path):
    secret = torch.full((2, 3), 123.456)
    torch.export.save(torch.export.export(nn.Linear(3, 2), (secret,)), path)
    with zipfile.ZipFile(path) as archive:
        content = b"".join(archive.read(name) for name in archive.namelist())
    assert secret.numpy().tobytes() in content
    assert b"linear.py" in content


class Prints(nn.Module):
    """Says on stderr that it is being exported, and lets another thread say something."""

    def __init__(self, other):
        super().__init__()
        self.other = other

    def forward(self, x):
        print("noise of torch", file=sys.stderr)
        self.other()
        return x + 1


def test_what_other_threads_print_is_not_swallowed(path, capsys):
    """And exports in two threads leave stderr and the filters as they were."""
    before, filters = sys.stderr, list(warnings.filters)

    def from_another_thread():
        thread = threading.Thread(
            target=print, args=("a user's line",), kwargs={"file": sys.stderr}
        )
        thread.start()
        thread.join()

    def export_once(number):
        export_program(Prints(from_another_thread), X, path.with_name(f"{number}.pt2"))

    threads = [threading.Thread(target=export_once, args=(n,)) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sys.stderr is before
    assert list(warnings.filters) == filters
    printed = capsys.readouterr().err
    assert "a user's line" in printed
    assert "noise of torch" not in printed.replace("a user's line", "")


def test_what_is_checked_is_the_file(path, monkeypatch):
    other = torch.export.export(nn.Linear(3, 2), (X,))
    monkeypatch.setattr(torch.export, "load", lambda _: other)
    with pytest.raises(DisagreementError, match="random values"):
        export_program(nn.Linear(3, 2), X, path)
    assert not path.exists()


def test_probes_of_your_own_are_checked(path, monkeypatch):
    batch = ({0: torch.export.Dim("batch")},)
    clamped = torch.export.export(nn.Hardtanh(-1000, 1000), (X,), dynamic_shapes=batch)
    monkeypatch.setattr(torch.export, "load", lambda _: clamped)
    export_program(nn.Identity(), X, path)
    with pytest.raises(DisagreementError, match="your probe 0"):
        export_program(nn.Identity(), X, path, probes=[(X * 10_000,)])


def test_a_folder_that_is_missing_is_a_write_error(tmp_path):
    with pytest.raises(CheckpointWriteError, match="nowhere"):
        export_program(nn.ReLU(), X, tmp_path / "nowhere" / "model.pt2")


def test_several_inputs_and_a_dict_of_outputs(path):
    example = (X, X + 1)
    export_program(TwoToDict(), example, path)
    export_onnx(TwoToDict(), example, path.with_suffix(".onnx"))
    expected = TwoToDict()(-X[:2], X[:2])
    assert torch.equal(
        load_program(path, trusted=True).module()(-X[:2], X[:2])["sum"], expected["sum"]
    )
    outputs = load_onnx(path.with_suffix(".onnx"))(-X[:2], X[:2])
    assert [torch.equal(a, b) for a, b in zip(outputs, expected.values(), strict=True)] == [
        True
    ] * 2


def test_onnx_agrees_to_rounding_for_any_batch(tmp_path):
    model = digits_model()
    export_onnx(model, IMAGES, tmp_path / "model.onnx")
    run = load_onnx(tmp_path / "model.onnx")
    for size in (1, 7):
        images = torch.rand(size, 1, 8, 8)
        with torch.no_grad():
            torch.testing.assert_close(run(images), model.eval()(images), atol=1e-5, rtol=0)
    assert b".py" not in (tmp_path / "model.onnx").read_bytes()


def trusting(load):
    return lambda path: load(path, trusted=True)


ALL_LOADERS = [trusting(load_program), trusting(load_package), load_onnx]


@pytest.mark.parametrize("load", [*ALL_LOADERS, load_program, load_package])
def test_a_missing_file_is_named(load, tmp_path):
    with pytest.raises(MissingCheckpointError, match="missing"):
        load(tmp_path / "missing.pt2")


def test_a_package_that_is_not_trusted_is_refused(program, monkeypatch):
    monkeypatch.setattr(torch._inductor, "aoti_load_package", None)
    with pytest.raises(UnsafeCheckpointError, match="machine code"):
        load_package(program[1])


def test_a_program_from_strangers_is_loaded_if_it_only_calls_operators(program):
    model, path = program
    assert torch.equal(load_program(path).module()(IMAGES), model(IMAGES))


def test_what_is_no_program_is_refused(tmp_path):
    torch.save({"w": X}, tmp_path / "checkpoint.pt2")
    with pytest.raises(UnsafeCheckpointError, match="Not a program"):
        load_program(tmp_path / "checkpoint.pt2")


@pytest.mark.parametrize("load", ALL_LOADERS)
def test_a_damaged_file_is_named(load, program, tmp_path):
    cut = tmp_path / "cut.pt2"
    cut.write_bytes(program[1].read_bytes()[:-500])
    with pytest.raises(DamagedCheckpointError, match=r"cut\.pt2"):
        load(cut)


def compiler():
    try:
        return find_compiler()
    except NoCompilerError:
        return None


needs_compiler = pytest.mark.skipif(compiler() is None, reason="no C++ compiler here")


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    path = tmp_path_factory.mktemp("package") / "model.pt2"
    model = digits_model()
    compile_package(model, IMAGES, path)
    return model.eval(), path


@pytest.fixture(scope="module")
def runner(tmp_path_factory):
    return build_runner(tmp_path_factory.mktemp("cpp"), "run_package.cpp")


@needs_compiler
def test_the_package_agrees_to_rounding_and_cpp_gives_the_same_bits(package, runner, tmp_path):
    torch.set_num_threads(1)
    model, path = package
    run = load_package(path, trusted=True)
    with torch.no_grad():
        for size in (1, 33):
            images = torch.rand(size, 1, 8, 8)
            torch.testing.assert_close(run(images), model(images), atol=1e-5, rtol=0)
            assert torch.equal(run_in_cpp(runner, path, images, tmp_path), run(images))
            turned = images.transpose(2, 3)
            torch.testing.assert_close(run(turned), model(turned), atol=1e-5, rtol=0)


PLAIN = """
import sys, torch
package = torch._inductor.aoti_load_package(sys.argv[1])
torch.save(package(torch.ones(2, 1, 16, 16)), sys.argv[2])
"""


@needs_compiler
def test_images_of_another_size_are_refused_where_plain_torch_answers_nonsense(
    package, runner, tmp_path
):
    (model, path), large = package, torch.ones(2, 1, 16, 16)
    subprocess.run([sys.executable, "-c", PLAIN, path, tmp_path / "plain.pt"], check=True)
    assert not torch.allclose(torch.load(tmp_path / "plain.pt"), model(large), atol=1e-3)
    for run in (load_package(path, trusted=True), lambda x: run_in_cpp(runner, path, x, tmp_path)):
        with pytest.raises(RuntimeError, match=r"Float\[1, 8, 8\].*got Float\[1, 16, 16\]"):
            run(large)
        with pytest.raises(RuntimeError, match=r"got Double\[1, 8, 8\]"):
            run(IMAGES.double())


class TouchWhenLoaded:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


def in_the_example_inputs(marker):
    buffer = io.BytesIO()
    torch.save(({"x": TouchWhenLoaded(marker)},), buffer)
    return {"data/sample_inputs/model.pt": lambda _: buffer.getvalue()}


def with_a_fraction():
    buffer = io.BytesIO()
    torch.save(({"x": Fraction(1, 2)},), buffer)
    return {"data/sample_inputs/model.pt": lambda _: buffer.getvalue()}


def in_a_size(marker):
    def edit(content):
        expression = json.dumps(f"__import__('pathlib').Path({str(marker)!r}).touch()").encode()
        return content.replace(b'"expr_str": "', b'"expr_str": ' + expression + b', "was": "', 1)

    return {"models/model.json": edit}


def forged(source, target, edits):
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for entry in old.infolist():
            short = entry.filename.split("/", 1)[1]
            content = edits.get(short, lambda same: same)(old.read(entry))
            new.writestr(f"{target.stem}/{short}", content)


def test_a_program_that_needs_more_than_operators_is_refused(program, tmp_path):
    needy = tmp_path / "needy.pt2"
    forged(program[1], needy, with_a_fraction())
    with pytest.raises(UnsafeCheckpointError, match="Fraction"):
        load_program(needy)


@pytest.mark.parametrize("attack", [in_the_example_inputs, in_a_size])
def test_a_program_can_run_code_when_torch_loads_it_and_is_refused(attack, program, tmp_path):
    marker, evil = tmp_path / "was here", tmp_path / "evil.pt2"
    forged(program[1], evil, attack(marker))
    with pytest.raises(UnsafeCheckpointError):
        load_program(evil)
    assert not marker.exists()
    with export._quiet(), pytest.raises((Exception,)):
        torch.export.load(os.fspath(evil))
    assert marker.exists()


@pytest.mark.parametrize("load", ALL_LOADERS)
def test_a_sound_file_of_another_kind_is_not_called_damaged(load, tmp_path):
    torch.save({"w": X}, tmp_path / "checkpoint.pt2")
    with pytest.raises(UnsupportedCheckpointError, match="bytes are as they were written"):
        load(tmp_path / "checkpoint.pt2")
    (tmp_path / "text").write_text("hello")
    with pytest.raises(NotACheckpointError, match="another kind of file"):
        load(tmp_path / "text")
