"""What earlier builds wrote is read for ever: files of every kind, kept in ``tests/data``."""

import csv
import json
import os
import random
import shutil
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path

import nbformat
import numpy as np
import pytest
import safetensors.torch
import torch
from course_utils.cli import main
from course_utils.compare import differences
from course_utils.convert import convert
from course_utils.data import digits
from course_utils.distributed_convert import from_one_file, to_one_file
from course_utils.exported import load_onnx, load_program
from course_utils.launch import launch
from course_utils.model_files import KINDS
from course_utils.models import MLP
from course_utils.rng import seed_everything
from course_utils.sampler import ResumableSampler
from course_utils.steplog import StepLog, read_log
from course_utils.torchscript import load_script
from nbgrader.api import Gradebook
from safetensors import safe_open
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from course_utils.anatomy import read_archive, read_tensors
from course_utils.checkpoint import CheckpointManager, load_checkpoint
from course_utils.distributed import ShardedRun, load_sharded, load_sharded_model
from course_utils.partial import plan_partial_load
from course_utils.resume import TrainState
from course_utils.safety import audit

pytestmark = [
    pytest.mark.filterwarnings("ignore:Validating sparse tensor"),
    pytest.mark.filterwarnings("ignore:torch.distributed is disabled"),
    pytest.mark.filterwarnings("ignore:ComplexHalf support"),
    pytest.mark.filterwarnings("ignore:the checkpoint has the generators of 0 GPUs"),
]
SAMPLES = Path(__file__).parent / "data" / "build_0_1"
NO_SAMPLES = {"make.py", "README.md", "__pycache__"}
SLUG = "01_state_dict_anatomy"
DTYPES = [
    *("float64", "float32", "float16", "bfloat16", "complex32", "complex64", "complex128"),
    *("bool", "uint8", "int8", "int16", "int32", "int64", "uint16", "uint32", "uint64"),
    *("float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu"),
]
# A sum's last bits depend on the order of its terms, which a processor's matrix kernels choose. So
# what was computed by training is compared to rounding; all that was only stored, to the last bit.
ROUNDING = {"rtol": 1e-4, "atol": 1e-5}

BASE = torch.arange(24.0)
WEIGHT = torch.arange(6.0).view(2, 3)
PLAIN = {"weight": WEIGHT / 8, "bias": torch.arange(2.0)}
MODEL = {"encoder.weight": WEIGHT, "decoder.weight": WEIGHT, "bias": torch.ones(2)}
VIEWS = {
    "whole": BASE.view(4, 6),
    "twin": BASE.view(4, 6),
    "rows": BASE[6:12],
    "turned": BASE.view(4, 6).T,
    "every third": BASE[::3],
    "expanded": torch.ones(3),
    "parameter": torch.arange(3.0),
}
STATES = {
    "plain.pt": PLAIN,
    "nested.pt": {
        "model": MODEL,
        "list": [torch.arange(3), (1, 2.5, "x"), []],
        "epoch": 7,
        "large": 2**70,
        "loss": 0.1,
        "name": "zwölf 数字",
        "flags": [True, False, None],
        5: "a number is the key",
    },
    "shared.pt": VIEWS,
    "slim.pt": VIEWS,
    "compact.pt": {"row": torch.arange(6.0) + 6},
    "empty_tensors.pt": {
        "flat": torch.empty(0),
        "wide": torch.empty(0, 3, dtype=torch.int64),
        "scalar": torch.tensor(3.5),
    },
    "empty_state.pt": {},
    "stripped.pt": {"model": PLAIN, "epoch": 3},
    "manager/step-00000010-accuracy-0.9.pt": {"weight": torch.arange(3.0) + 1},
    "manager/step-00000030-accuracy-0.75.pt": {"weight": torch.arange(3.0) + 3},
    "manager/step-00000040-accuracy-0.625.pt": {"weight": torch.arange(3.0) + 4},
    "async_manager/step-00000001-loss-0.0001.pt": {"weight": torch.arange(3.0) + 1},
    "async_manager/step-00000003.pt": {"weight": torch.arange(3.0) + 3},
}
CHECKPOINTS = [
    *STATES,
    *("dtypes.pt", "others.pt", "train_state/step_4.pt", "train_state/step_10.pt"),
    *("one_file.pt", "sharded_step_5.pt"),
]
READERS = {
    "load_checkpoint": load_checkpoint,
    "mapped": lambda path: load_checkpoint(path, mmap=True, verify_mapped=True),
    "torch": lambda path: torch.load(path, weights_only=True),
}


def test_every_sample_is_named_here():
    files = [path for path in SAMPLES.rglob("*.pt") if path.parent.name != "build_0_1"]
    assert {str(path.relative_to(SAMPLES)) for path in files} <= set(CHECKPOINTS)
    source = Path(__file__).read_text(encoding="utf-8")
    names = {path.name for path in SAMPLES.iterdir()} - NO_SAMPLES
    assert len(names) > 25
    assert [name for name in sorted(names) if f'"{name}"' not in source] == []


def tensors_of(state, prefix=""):
    """Names and tensors, as ``ckpt inspect`` shows them."""
    if isinstance(state, torch.Tensor):
        return {prefix: state}
    pairs = state.items() if isinstance(state, dict) else enumerate(state)
    found = {}
    for key, value in pairs:
        if isinstance(value, torch.Tensor | dict | list | tuple):
            found |= tensors_of(value, f"{prefix}.{key}" if prefix else str(key))
    return found


@pytest.fixture
def ckpt(capsys):
    def run(*arguments):
        status = main([str(argument) for argument in arguments])
        return status, capsys.readouterr().out

    return run


# Checkpoints


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", STATES)
def test_a_checkpoint_has_its_values_to_the_last_bit(name, reader):
    assert differences(READERS[reader](SAMPLES / name), STATES[name]) == []


@pytest.mark.parametrize("reader", READERS)
def test_every_dtype(reader):
    state = READERS[reader](SAMPLES / "dtypes.pt")
    assert list(state) == DTYPES
    for name, tensor in state.items():
        dtype = getattr(torch, name)
        assert differences(tensor, torch.arange(6).to(dtype)) == [], name


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_the_command_line_finds_it_whole_and_plain(name, ckpt):
    assert ckpt("verify", SAMPLES / name)[0] == 0
    assert ckpt("audit", SAMPLES / name)[0] == 0


@pytest.mark.parametrize("name", [n for n in CHECKPOINTS if n != "others.pt"])
def test_inspect_shows_every_tensor(name, ckpt):
    status, text = ckpt("inspect", "--json", SAMPLES / name)
    shown = {tensor["name"]: tensor for tensor in json.loads(text)["files"][0]["tensors"]}
    expected = tensors_of(load_checkpoint(SAMPLES / name))
    assert status == 0
    assert list(shown) == list(expected)
    for key, tensor in expected.items():
        assert shown[key]["shape"] == list(tensor.shape)
        assert shown[key]["dtype"] == str(tensor.dtype).removeprefix("torch.")


def test_the_anatomy_reads_single_tensors():
    archive = read_archive(SAMPLES / "shared.pt")
    for key, value in VIEWS.items():
        assert differences(read_tensors(archive, [key])[key], value) == []


def test_the_containers_keep_their_kind():
    model = load_checkpoint(SAMPLES / "nested.pt")["model"]
    assert type(model) is OrderedDict
    assert model._metadata == {"": {"version": 1}, "encoder": {"version": 2}}
    assert load_checkpoint(SAMPLES / "plain.pt")._metadata == {"": {"version": 1}}
    assert load_checkpoint(SAMPLES / "stripped.pt")["model"]._metadata == {"": {"version": 1}}


def test_what_shared_memory_shares_it_still():
    model = load_checkpoint(SAMPLES / "nested.pt")["model"]
    model["encoder.weight"][0, 0] = 99
    assert model["decoder.weight"][0, 0] == 99
    state = load_checkpoint(SAMPLES / "shared.pt")
    state["whole"][1, 0] = -1
    for name in ("twin", "turned", "rows", "every third"):
        assert -1 in state[name], name
    assert state["turned"].stride() == (1, 6)
    assert state["expanded"].stride() == (0,)
    assert state["parameter"].requires_grad


def test_what_was_written_compact_holds_only_what_it_shows():
    assert load_checkpoint(SAMPLES / "compact.pt")["row"].untyped_storage().nbytes() == 24
    slim = load_checkpoint(SAMPLES / "slim.pt")
    assert slim["rows"].untyped_storage().nbytes() == 24
    assert slim["whole"].data_ptr() == slim["twin"].data_ptr()


def test_what_is_no_ordinary_tensor():
    state = load_checkpoint(SAMPLES / "others.pt")
    assert state["sparse"].is_sparse
    assert torch.equal(state["sparse"].to_dense(), torch.eye(3))
    assert state["conjugate"].tolist() == [1 - 2j]
    assert (state["meta"].device.type, state["meta"].shape) == ("meta", (2, 3))
    assert (state["size"], state["dtype"]) == (torch.Size([2, 3]), torch.bfloat16)
    assert (state["device"], state["bytes"]) == (torch.device("cpu"), b"\x00\xff")
    assert state["set"] == {1, 2}


def test_a_part_of_a_checkpoint_fits_a_model():
    model = nn.Linear(3, 2)
    plan_partial_load(model, SAMPLES / "stripped.pt").apply()
    assert differences(model.state_dict(), PLAIN) == []


# Managers


def test_a_managers_folder_goes_on(tmp_path):
    shutil.copytree(SAMPLES / "manager", tmp_path / "run")
    manager = CheckpointManager(tmp_path / "run", keep_last=2, keep_best=1)
    assert manager.restore()["weight"].tolist() == [4, 5, 6]
    assert manager.latest().name == "step-00000040-accuracy-0.625.pt"
    assert manager.best().name == "step-00000010-accuracy-0.9.pt"
    manager.save({}, 50, {"accuracy": 0.125})
    left = ["00000010-accuracy-0.9", "00000040-accuracy-0.625", "00000050-accuracy-0.125"]
    assert sorted(os.listdir(tmp_path / "run")) == [f"step-{name}.pt" for name in left]


def test_an_asynchronous_managers_folder_goes_on(tmp_path):
    shutil.copytree(SAMPLES / "async_manager", tmp_path / "run")
    manager = CheckpointManager(tmp_path / "run", keep_last=1, metric="loss", mode="min")
    assert manager.restore()["weight"].tolist() == [3, 4, 5]
    assert manager.best().name == "step-00000001-loss-0.0001.pt"
    manager.save({}, 4, {"loss": 1.0})
    left = ["step-00000001-loss-0.0001.pt", "step-00000004-loss-1.pt"]
    assert sorted(os.listdir(tmp_path / "run")) == left


# Exact resume


class Training:
    """The run of the sample: everything that a TrainState takes, on real digits."""

    def __init__(self, seed):
        torch.set_num_threads(1)
        seed_everything(seed)
        model = nn.Sequential(
            nn.Linear(64, 6, bias=False), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 10)
        )
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        self.state = TrainState(
            model,
            optimizer,
            scheduler=torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9),
            scaler=torch.amp.GradScaler("cpu", init_scale=4.0, growth_interval=3),
            ema=AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.8), use_buffers=True),
            sampler=ResumableSampler(48, seed=7),
        )

    def run_until(self, last, log):
        images, labels = digits().tensors
        state = self.state
        while state.step < last:
            rows = torch.tensor(list(state.sampler)[:16])
            noise = random.random() + float(np.random.random()) + torch.rand(16, 64)  # noqa: NPY002
            loss = cross_entropy(state.model(images[rows].flatten(1) + 0.1 * noise), labels[rows])
            state.optimizer.zero_grad()
            state.scaler.scale(loss).backward()
            state.scaler.step(state.optimizer)
            state.scaler.update()
            state.scheduler.step()
            state.ema.update_parameters(state.model)
            state.step += 1
            state.sampler.advance(16)
            log.write(state.step, loss, rows)
            if not len(state.sampler):
                state.epoch += 1
                state.sampler.next_epoch()


def split(state):
    """What training computes, and what it only counts or draws."""
    computed = {"model": state["model"], "ema": state["ema"]}
    computed["moments"] = state["optimizer"]["state"]
    later = {"about", "parameter_order"}  # what builds since then say of a run in another way
    counted = {key: value for key, value in state.items() if key not in {*computed, *later}}
    counted["optimizer"] = state["optimizer"]["param_groups"]
    counted["rng"] = {key: value for key, value in state["rng"].items() if key != "cuda"}
    return computed, counted


def test_a_training_state_is_taken_whole():
    saved = load_checkpoint(SAMPLES / "train_state" / "step_4.pt")
    run = Training(seed=99)
    run.state.load_state_dict(saved)
    assert differences(split(run.state.state_dict()), split(saved)) == []
    assert (saved["step"], saved["epoch"], saved["sampler"]["position"]) == (4, 1, 16)
    assert saved["scaler"]["scale"] == 8.0


def test_a_training_goes_on_to_where_the_straight_run_came(tmp_path):
    shutil.copytree(SAMPLES / "train_state", tmp_path / "run")
    straight = read_log(SAMPLES / "train_state")
    end = load_checkpoint(SAMPLES / "train_state" / "step_10.pt")
    run = Training(seed=99)
    run.state.load_state_dict(load_checkpoint(tmp_path / "run" / "step_4.pt"))
    run.run_until(10, StepLog(tmp_path / "run", resume_at=4))
    resumed = read_log(tmp_path / "run")
    assert resumed[:4] == straight[:4]
    assert [entry["step"] for entry in resumed] == list(range(1, 11))
    for here, there in zip(resumed, straight, strict=True):
        assert here["images"] == there["images"]
        assert here["loss"] == pytest.approx(there["loss"], rel=1e-5)
    (computed, counted), (expected, drawn) = split(run.state.state_dict()), split(end)
    assert differences(counted, drawn) == []
    torch.testing.assert_close(computed, expected, **ROUNDING)


# Many processes


def sharded_run(seed):
    torch.set_num_threads(1)
    seed_everything(seed)
    model = nn.Sequential(nn.Linear(4, 2), nn.BatchNorm1d(2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    return ShardedRun(model, optimizer, ResumableSampler(100))


def train_sharded(run, steps):
    for place in list(run.sampler)[:steps]:
        run.sampler.advance(1)
        target = torch.tensor([place / 100, 1.0])
        (run.model(torch.rand(8, 4)) - target).square().mean().backward()
        run.optimizer.step()
        run.optimizer.zero_grad()


def assert_goes_on_to_step_5(run):
    train_sharded(run, 3)
    end = load_checkpoint(SAMPLES / "sharded_step_5.pt")
    assert run.sampler.state_dict() == end["sampler"] == {
        "seed": 0, "size": 100, "epoch": 0, "position": 5
    }  # fmt: skip
    assert torch.equal(torch.get_rng_state(), end["random"])
    torch.testing.assert_close(dict(run.model.state_dict()), dict(end["model"]), **ROUNDING)
    moments = run.optimizer.state_dict()["state"]
    torch.testing.assert_close(moments, end["optimizer"], **ROUNDING)


def test_a_sharded_run_goes_on(tmp_path):
    run = sharded_run(seed=9)
    assert load_sharded(SAMPLES / "sharded", run) == 2
    stored = safetensors.torch.load_file(SAMPLES / "one_file.safetensors")
    assert differences(run.model.state_dict(), stored) == []
    assert_goes_on_to_step_5(run)


def test_one_file_of_a_sharded_run_goes_on(tmp_path):
    from_one_file(SAMPLES / "one_file.pt", tmp_path, 2)
    run = sharded_run(seed=9)
    assert load_sharded(tmp_path, run) == 2
    assert_goes_on_to_step_5(run)


def test_converting_gives_the_same_files_again(tmp_path):
    for name in ("one_file.pt", "one_file.safetensors"):
        to_one_file(SAMPLES / "sharded", tmp_path / name)
    state = load_checkpoint(SAMPLES / "one_file.pt")
    assert differences(load_checkpoint(tmp_path / "one_file.pt"), state) == []
    model = safetensors.torch.load_file(SAMPLES / "one_file.safetensors")
    assert differences(safetensors.torch.load_file(tmp_path / "one_file.safetensors"), model) == []
    assert differences(state["model"], model) == []
    assert (state["sampler"]["position"], list(state["rng"])) == (2, ["0"])


def test_a_folder_made_of_one_file():
    model = sharded_run(seed=9).model
    assert load_sharded_model(SAMPLES / "from_one_file", model) == 7
    stored = safetensors.torch.load_file(SAMPLES / "one_file.safetensors")
    assert differences(model.state_dict(), stored) == []


def test_what_two_processes_saved_goes_on_in_two(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    shutil.copytree(SAMPLES / "sharded_by_two", tmp_path / "run")
    options = ["--steps=4", "--save-every=2", "--dropout=0"]
    done = launch("course_utils.distributed_worker", tmp_path / "run", *options, ranks=2)
    assert done.status == 0, str(done)
    assert "continues from step 2" in done.output[1]
    to_one_file(tmp_path / "run", tmp_path / "end.safetensors", 4)
    here = safetensors.torch.load_file(tmp_path / "end.safetensors")
    there = safetensors.torch.load_file(SAMPLES / "sharded_by_two_step_4.safetensors")
    torch.testing.assert_close(here, there, **ROUNDING)


def test_what_two_processes_saved_goes_on_in_one():
    torch.set_num_threads(1)
    model = MLP()
    run = ShardedRun(model, torch.optim.Adam(model.parameters(), 1e-3), ResumableSampler(1437))
    assert load_sharded(SAMPLES / "sharded_by_two", run) == 2
    images, labels = digits().tensors
    for rows in torch.tensor(list(run.sampler)[:100]).split(50):
        cross_entropy(model(images[rows]), labels[rows]).backward()
        run.optimizer.step()
        run.optimizer.zero_grad()
    assert run.sampler.position == 100
    there = safetensors.torch.load_file(SAMPLES / "sharded_by_two_step_4.safetensors")
    torch.testing.assert_close(dict(model.state_dict()), there, **ROUNDING)


# Other kinds of files; the model's weights are multiples of 1/8, so its sums are exact


def outputs(images):
    return images @ PLAIN["weight"].T + PLAIN["bias"]


IMAGES = torch.arange(-6.0, 9.0).view(5, 3)


def test_a_converted_file(tmp_path, ckpt):
    path = SAMPLES / "converted.safetensors"
    tensors = {"model.encoder.weight": WEIGHT, "model.bias": torch.ones(2)}
    assert (
        differences(safetensors.torch.load_file(path), tensors | {"list.0": torch.arange(3)}) == []
    )
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    assert metadata["model.decoder.weight"] == "model.encoder.weight"
    values = json.loads(metadata["values"])
    assert (values["epoch"], values["large"], values["loss"]) == (7, 2**70, 0.1)
    assert (values["name"], values["flags"]) == ("zwölf 数字", [True, False, None])
    convert(SAMPLES / "nested.pt", tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("converted.safetensors", {"model.encoder.weight", "model.bias", "list.0"}),
        ("model.safetensors", {"weight", "bias"}),
        ("one_file.safetensors", {f"0.{key}" for key in PLAIN} | {
            f"1.{key}" for key in nn.BatchNorm1d(2).state_dict()}),
        ("sharded_by_two_step_4.safetensors", set(MLP().state_dict())),
    ],
)  # fmt: skip
def test_the_command_line_shows_a_safetensors_file(name, keys, ckpt):
    status, text = ckpt("inspect", "--json", SAMPLES / name)
    assert status == 0
    assert {tensor["name"] for tensor in json.loads(text)["files"][0]["tensors"]} == keys
    assert ckpt("audit", SAMPLES / name)[0] == 0


def test_a_models_safetensors_file():
    (kind,) = (kind for kind in KINDS if kind.name == "safetensors")
    run = kind.load(SAMPLES / "model.safetensors", nn.Linear(3, 2))
    assert torch.equal(run(IMAGES), outputs(IMAGES))


@pytest.mark.parametrize(("name", "mode"), [("traced.pt", "trace"), ("scripted.pt", "script")])
def test_a_torchscript_file(name, mode):
    script = load_script(SAMPLES / name)
    assert torch.equal(script.module(IMAGES), outputs(IMAGES))
    assert script.metadata["mode"] == mode
    assert script.metadata["inputs"] == [{"shape": ["batch", 3], "dtype": "float32"}]
    texts = {"classes.txt": "zero\nzwölf"} if mode == "trace" else {}
    assert script.extra_files == texts
    assert audit(SAMPLES / name).format == "TorchScript program"


def test_an_exported_program_is_loaded_without_trust():
    program = load_program(SAMPLES / "program.pt2")
    assert torch.equal(program.module()(IMAGES), outputs(IMAGES))
    assert differences(dict(program.state_dict), PLAIN) == []


def test_an_onnx_file():
    assert torch.equal(load_onnx(SAMPLES / "model.onnx")(IMAGES), outputs(IMAGES))


# A class


@pytest.fixture
def course(tmp_path):
    shutil.copytree(SAMPLES / "submissions", tmp_path / "submissions")
    shutil.copytree(SAMPLES / "course_folder", tmp_path / "class")
    return tmp_path / "class"


def results(course):
    """What is known of each notebook; the files are named after its cells and today's exercises."""
    return sorted(path.read_text() for path in course.glob("results/*.json"))


def cells_of(notebook):
    cells = nbformat.read(notebook, as_version=4).cells
    return [(cell.source, cell.get("outputs")) for cell in cells]


def run(*command, folder):
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_gradebook_is_read(course):
    with Gradebook(f"sqlite:///{course}/gradebook.db", "saving_and_loading") as gradebook:
        assert gradebook.find_assignment(SLUG).max_score == 10
        for student, score in {"anna": 1.0, "bo": 0.0}.items():
            assert gradebook.find_submission(SLUG, student).score == score
        grades = gradebook.find_submission_notebook(SLUG, SLUG, "anna").grades
        assert {g.name: g.score for g in grades} == {
            "check_01_1": 1, "check_01_2": 0, "check_01_3": 0, "check_01_4": 0, "check_01_5": 0
        }  # fmt: skip


def test_each_record_names_a_kept_result(course):
    assert (course / "secret_seed").read_text() == "12345"
    names = {path.stem for path in course.glob("results/*.json")}
    assert {(course / "results/recorded" / SLUG / s).read_text() for s in ("anna", "bo")} == names


def test_the_released_notebook_names_what_exists(course):
    cells = nbformat.read(course / "release" / SLUG / f"{SLUG}.ipynb", as_version=4).cells
    code = [cell.source for cell in cells if cell.cell_type == "code"]
    assert code[0] == "from course_utils.grading import check"
    assert code[2] == 'check("01.1", keys)'
    names = {}
    exec("\n".join([code[0], "keys = lambda module: sorted(module.state_dict())"]), names)
    assert "correct" in str(names["check"]("01.1", names["keys"]))


@pytest.mark.parametrize("options", [[], ["--again"]])
def test_grading_a_class_again_changes_nothing(course, options):
    before = results(course)
    csv_file = (course / "grades.csv").read_bytes()
    command = ["course_utils.grading", "--course=class", "grade", "submissions", "--workers=1"]
    run(*command, *options, folder=course.parent)
    assert (course / "grades.csv").read_bytes() == csv_file
    assert set(results(course)) == set(before)
    with open(course / "grades.csv", newline="", encoding="utf-8") as file:
        rows = {row["student"]: row for row in csv.DictReader(file)}
    assert rows["anna"]["points"] == "01.1=1/1 01.2=0/1 01.3=0/2 01.4=0/3 01.5=0/3"
    assert [rows[name]["score"] for name in ("anna", "bo")] == ["1.0", "0.0"]
    for student in ("anna", "bo"):
        name = Path("autograded") / student / SLUG / f"{SLUG}.ipynb"
        assert cells_of(course / name) == cells_of(SAMPLES / "course_folder" / name)
        assert (course / "feedback" / student / SLUG / f"{SLUG}.html").exists()


def test_nbgrader_works_by_the_stored_configuration(course):
    """It names modules of ours; a course folder is not written anew when the package moves."""
    for student in ("anna", "bo"):
        target = course / "submitted" / student / SLUG
        target.mkdir(parents=True)
        shutil.copy(SAMPLES / "submissions" / student / f"{SLUG}.ipynb", target)
    run("nbgrader", "autograde", SLUG, "--force", folder=course)
    run("nbgrader", "generate_feedback", SLUG, folder=course)
    with Gradebook(f"sqlite:///{course}/gradebook.db", "saving_and_loading") as gradebook:
        assert [gradebook.find_submission(SLUG, s).score for s in ("anna", "bo")] == [1.0, 0.0]
    page = (course / "feedback" / "bo" / SLUG / f"{SLUG}.html").read_text()
    assert "block1.norm.num_batches_tracked is saved too" in page
