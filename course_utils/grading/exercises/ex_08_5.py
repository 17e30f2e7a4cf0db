"""Exercise 08.5: fill a model from a folder that plain ``dcp.save`` wrote."""

import tempfile
import warnings
from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from torch import Tensor, nn
from torch.distributed.checkpoint.api import CheckpointException

from course_utils.grading.exercise import RIGHT, Case, Observation, Plain, Task, Verdict, wrong
from course_utils.grading.sandbox.parcels import loaded, place, saved
from course_utils.resume.compare import differences

TASK = Task(
    title="Fill, and say what was left out",
    difficulty="medium",
    minutes=15,
    answer="fill",
    text="""
A run saved `{"model": …, "optimizer": …, "step": …}` with plain `dcp.save`. Write `fill(folder,
model)`, which takes the weights alone out of it, in one process and without a group.

- The tensors of `model` are **filled**: they stay the same objects in the same memory, because an
  optimizer may hold them already.
- It returns a sorted list of the model's names in the folder that `model` does not have, without
  the `"model."` in front. DCP would pass them over without a word.
- If `model` has a name that the folder lacks, a `KeyError` comes.
""",
    hints=(
        "`dcp.load` fills what you hand it. The state must have the form that was saved: "
        '`{"model": …}`, with the model\'s own tensors.',
        "`dcp.FileSystemReader(folder).read_metadata().state_dict_metadata` has all the names.",
        "What DCP raises is a `CheckpointException`, and `except Exception` does not catch it. It "
        "is easier to compare the names before anything is loaded.",
    ),
    starter='''
import torch.distributed.checkpoint as dcp


def fill(folder, model):
    """Fill a model; return the names in the folder that it does not have."""
    state = {"model": {name: tensor.clone() for name, tensor in model.state_dict().items()}}
    dcp.load(state, checkpoint_id=folder)
    return []
''',
)


def cases(seed: int) -> list[Case]:
    """Alike, a part only, more than there is, buffers, an optimizer whose names look like it."""
    kinds = [("plain", "plain"), ("norm", "norm"), ("deep", "plain"), ("norm", "plain")]
    kinds += [("plain", "deep"), ("norm", "deep"), ("plain", "norm")]
    return [{"wrote": a, "asks": b, "seed": seed + 7 * i} for i, (a, b) in enumerate(kinds)]


def ask(case: Case) -> Plain:
    """Write the folder; the question holds its files and what model is to be filled."""
    model = _model(case["wrote"], case["seed"])
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.rand(8, 3)).sum().backward()
    optimizer.step()
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": 1}
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there is no process group
        dcp.save(state, checkpoint_id=folder)
        files = {f"run/{path.name}": path.read_bytes() for path in Path(folder).iterdir()}
    return {"files": files, "asks": case["asks"], "seed": case["seed"]}


def probe(answer: Any, question: Plain) -> Plain:
    """Fill another model; return its tensors as they were and as they are, and the names."""
    model = _model(question["asks"], question["seed"] + 1)
    held: list[Tensor] = [*model.parameters(), *model.buffers()]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            names = answer(Path("run").absolute(), model)
        except (KeyError, CheckpointException) as error:
            return type(error).__name__
    now = [*model.parameters(), *model.buffers()]
    return [names, saved([[t.detach() for t in ts] for ts in (held, now)])]


def read(case: Case, seen: Observation) -> Plain:
    """Return the names, the values, and whether the model's tensors are others now."""
    if isinstance(seen.data, str):
        return seen.data
    names, data = seen.data
    held, now = loaded(data)
    others = [place(a) for a in held] != [place(b) for b in now]
    return {"names": names, "values": now, "others": others}


def judge(case: Case, observed: Plain, expected: Plain) -> Verdict:
    """Missing names, then values, then memory, then what was passed over."""
    if observed == "CheckpointException":
        return wrong("DCP's CheckpointException came out of it; it is no Exception.",
                     expected, observed)  # fmt: skip
    if "KeyError" in (observed, expected):
        if observed == expected:
            return RIGHT
        if expected == "KeyError":
            return wrong("The folder lacks a name of the model, and no KeyError came.")
        return wrong("Every name of the model is in the folder, and a KeyError came.")
    if different := differences(expected["values"], observed["values"]):
        return wrong("The model does not hold the folder's values.",
                     f"{len(expected['values'])} tensors filled",
                     f"{len(different)} of them not")  # fmt: skip
    if observed["others"]:
        return wrong("The model has other tensors now: an optimizer made before trains the old "
                     "ones.", credit=0.5)  # fmt: skip
    if observed["names"] != expected["names"]:
        return wrong("The names that were passed over are others.", expected["names"],
                     observed["names"], credit=0.5)  # fmt: skip
    return RIGHT


def _model(kind: str, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    norm = [nn.BatchNorm1d(4)] if kind == "norm" else []
    deep = [nn.ReLU(), nn.Linear(4, 2)] if kind == "deep" else []
    return nn.Sequential(nn.Linear(3, 4), *norm, *deep)
