"""Made the samples beside this file; see README.md. Run by hand, by the build named there.

    python make.py

It stays as it was: a later build writes samples of its own, into a folder of its own.
"""

import json
import os
import random
import shutil
import sqlite3
import tempfile
from collections import OrderedDict
from pathlib import Path

import nbformat
import numpy as np
import torch
from course_utils.convert import convert
from course_utils.data import digits
from course_utils.distributed_convert import from_one_file, to_one_file
from course_utils.export import export_onnx, export_program
from course_utils.grading.course import Course
from course_utils.grading.grading_run import grade_class
from course_utils.grading.release import release
from course_utils.launch import launch
from course_utils.model_files import KINDS
from course_utils.rewrite import slim, strip_prefix
from course_utils.rng import seed_everything
from course_utils.sampler import ResumableSampler
from course_utils.steplog import StepLog
from course_utils.torchscript import export_script
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from course_utils.checkpoint import AsyncCheckpointer, CheckpointManager, save_checkpoint
from course_utils.distributed import ShardedRun, save_sharded
from course_utils.resume import TrainState

HERE = Path(__file__).parent
DTYPES = [
    *("float64", "float32", "float16", "bfloat16", "complex32", "complex64", "complex128"),
    *("bool", "uint8", "int8", "int16", "int32", "int64", "uint16", "uint32", "uint64"),
    *("float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu"),
]
SLUG = "01_state_dict_anatomy"
RIGHT = "def keys(module):\n    return sorted(module.state_dict())"
WRONG = "def keys(module):\n    return sorted(n for n, _ in module.named_parameters())"


def linear() -> nn.Linear:
    model = nn.Linear(3, 2)
    with torch.no_grad():
        model.weight.copy_(torch.arange(6.0).view(2, 3) / 8)
        model.bias.copy_(torch.arange(2.0))
    return model


def make_checkpoints() -> None:
    save_checkpoint(HERE / "plain.pt", linear().state_dict())
    tied = torch.arange(6.0).view(2, 3)
    model = OrderedDict({"encoder.weight": tied, "decoder.weight": tied, "bias": torch.ones(2)})
    model._metadata = OrderedDict({"": {"version": 1}, "encoder": {"version": 2}})  # type: ignore
    nested = {
        "model": model,
        "list": [torch.arange(3), (1, 2.5, "x"), []],
        "epoch": 7,
        "large": 2**70,
        "loss": 0.1,
        "name": "zwölf 数字",
        "flags": [True, False, None],
        5: "a number is the key",
    }
    save_checkpoint(HERE / "nested.pt", nested)
    base = torch.arange(24.0)
    shared = {
        "whole": base.view(4, 6),
        "twin": base.view(4, 6),
        "rows": base[6:12],
        "turned": base.view(4, 6).T,
        "every third": base[::3],
        "expanded": base[1:2].expand(3),
        "parameter": nn.Parameter(torch.arange(3.0)),
    }
    save_checkpoint(HERE / "shared.pt", shared)
    save_checkpoint(HERE / "compact.pt", {"row": torch.arange(3000.0)[6:12]}, compact=True)
    tensors = {name: torch.arange(6).to(getattr(torch, name)) for name in DTYPES}
    save_checkpoint(HERE / "dtypes.pt", tensors)
    empty = {"flat": torch.empty(0), "wide": torch.empty(0, 3, dtype=torch.int64)}
    save_checkpoint(HERE / "empty_tensors.pt", {**empty, "scalar": torch.tensor(3.5)})
    save_checkpoint(HERE / "empty_state.pt", {})
    others = {
        "sparse": torch.eye(3).to_sparse(),
        "conjugate": torch.tensor([1 + 2j]).conj(),
        "meta": torch.empty(2, 3, device="meta"),
        "size": torch.Size([2, 3]),
        "dtype": torch.bfloat16,
        "device": torch.device("cpu"),
        "bytes": b"\x00\xff",
        "set": {1, 2},
    }
    save_checkpoint(HERE / "others.pt", others)


def make_copies(scratch: Path) -> None:
    slim(HERE / "shared.pt", HERE / "slim.pt")
    convert(HERE / "nested.pt", HERE / "converted.safetensors")
    wrapped = nn.DataParallel(linear()).state_dict()
    save_checkpoint(scratch / "wrapped.pt", {"model": wrapped, "epoch": 3})
    strip_prefix(scratch / "wrapped.pt", HERE / "stripped.pt")


def make_managers() -> None:
    manager = CheckpointManager(HERE / "manager", keep_last=2, keep_best=1)
    for step, accuracy in enumerate([0.5, 0.9, 0.25, 0.75, 0.625]):
        manager.save({"weight": torch.arange(3.0) + step}, step * 10, {"accuracy": accuracy})
    manager = CheckpointManager(
        HERE / "async_manager", keep_last=1, keep_best=1, metric="loss", mode="min"
    )
    weight = torch.arange(3.0)
    with AsyncCheckpointer(manager) as saver:
        for step, loss in enumerate([2.0, 0.0001, 3.0]):
            saver.save({"weight": weight}, step, {"loss": loss})
            weight += 1
        saver.save({"weight": weight}, 3)


class Training:
    def __init__(self, seed: int) -> None:
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

    def run_until(self, last: int, log: StepLog) -> None:
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


def make_train_state() -> None:
    folder = HERE / "train_state"
    run, log = Training(seed=0), StepLog(folder)
    run.run_until(4, log)
    save_checkpoint(folder / "step_4.pt", run.state.state_dict())
    run.run_until(10, log)
    save_checkpoint(folder / "step_10.pt", run.state.state_dict())


def sharded_run(seed: int) -> ShardedRun:
    seed_everything(seed)
    model = nn.Sequential(nn.Linear(4, 2), nn.BatchNorm1d(2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    return ShardedRun(model, optimizer, ResumableSampler(100))


def train_sharded(run: ShardedRun, steps: int) -> None:
    for place in list(run.sampler)[:steps]:  # type: ignore
        run.sampler.advance(1)  # type: ignore
        target = torch.tensor([place / 100, 1.0])
        (run.model(torch.rand(8, 4)) - target).square().mean().backward()
        run.optimizer.step()
        run.optimizer.zero_grad()


def make_sharded() -> None:
    run = sharded_run(seed=0)
    train_sharded(run, 2)
    save_sharded(HERE / "sharded", 2, run)
    train_sharded(run, 3)
    end = {
        "model": run.model.state_dict(),
        "optimizer": run.optimizer.state_dict()["state"],
        "sampler": run.sampler.state_dict(),
        "random": torch.get_rng_state(),
    }
    save_checkpoint(HERE / "sharded_step_5.pt", end)
    to_one_file(HERE / "sharded", HERE / "one_file.pt")
    to_one_file(HERE / "sharded", HERE / "one_file.safetensors")
    from_one_file(HERE / "one_file.safetensors", HERE / "from_one_file", 7)


def make_sharded_by_two(scratch: Path) -> None:
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    options = ["--steps=4", "--save-every=2", "--dropout=0", "--asynchronous"]
    done = launch("course_utils.distributed_worker", scratch / "two", *options, ranks=2)
    assert done.status == 0, str(done)
    name = "step-00000002"
    shutil.copytree(scratch / "two" / name, HERE / "sharded_by_two" / name)
    to_one_file(scratch / "two", HERE / "sharded_by_two_step_4.safetensors", 4)


def make_exports() -> None:
    model, example = linear(), torch.arange(6.0).view(2, 3)
    export_script(model, example, HERE / "traced.pt", extra_files={"classes.txt": "zero\nzwölf"})
    export_script(model, example, HERE / "scripted.pt", mode="script")
    export_program(model, example, HERE / "program.pt2")
    export_onnx(model, example, HERE / "model.onnx")
    (kind,) = (kind for kind in KINDS if kind.name == "safetensors")
    kind.save(model, example, HERE / "model.safetensors")


def make_class(scratch: Path) -> None:
    (scratch / "class").mkdir()
    (scratch / "class" / "secret_seed").write_text("12345")
    course = Course.open(scratch / "class")
    release(course, [SLUG])
    for student, answer in {"anna": RIGHT, "bo": WRONG}.items():
        notebook = course.released(SLUG)
        for cell in notebook.cells:
            if cell.metadata.get("nbgrader", {}).get("grade_id") == "answer_01_1":
                cell.source = answer
        (HERE / "submissions" / student).mkdir(parents=True)
        nbformat.write(notebook, HERE / "submissions" / student / f"{SLUG}.ipynb")
    rows, failures = grade_class(course, HERE / "submissions", workers=1)
    assert [row.score for row in rows] == [1.0, 0.0], rows
    assert failures == {}
    # What releasing and grading write anew, and large pages, are left out.
    left_out = shutil.ignore_patterns("source", "submitted", "feedback", "__pycache__", ".*")
    shutil.copytree(course.root, HERE / "course_folder", ignore=left_out)
    with sqlite3.connect(HERE / "course_folder" / "gradebook.db") as gradebook:
        gradebook.execute("PRAGMA page_size = 512")
        gradebook.execute("VACUUM")


def main() -> None:
    torch.set_num_threads(1)
    for path in HERE.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.suffix in (".pt", ".pt2", ".onnx", ".safetensors"):
            path.unlink()
    with tempfile.TemporaryDirectory() as folder:
        make_checkpoints()
        make_copies(Path(folder))
        make_managers()
        make_train_state()
        make_sharded()
        make_sharded_by_two(Path(folder))
        make_exports()
        make_class(Path(folder))
    sizes = {str(p.relative_to(HERE)): p.stat().st_size for p in HERE.rglob("*") if p.is_file()}
    print(json.dumps(sizes, indent=1, sort_keys=True), sum(sizes.values()))


if __name__ == "__main__":
    main()
