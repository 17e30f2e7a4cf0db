"""Exercise 08.6: a run of a sharded model as one entry of what DCP saves."""

import warnings
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import Tensor, nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from course_utils.grading.exercise import RIGHT, Case, Observation, Plain, Task, Verdict, wrong
from course_utils.grading.sandbox.parcels import loaded, saved
from course_utils.resume.compare import differences

TASK = Task(
    title="A run that DCP can save",
    difficulty="hard",
    minutes=25,
    answer="Run",
    text="""
DCP calls `state_dict` and `load_state_dict` of an object itself. So a whole run can be one entry:

```python
dcp.save({"run": Run(model, optimizer, position=300)}, checkpoint_id=folder)

# In a new process: a new model, and an optimizer that has made no step.
run = Run(model, optimizer)
dcp.load({"run": run}, checkpoint_id=folder)
run.position  # 300
```

Write the class `Run`. `model` is spread with `fully_shard`, `position` is a number of images.

- After loading, training goes on exactly, with the optimizer's moments and learning rates: a
  schedule had changed the rates before the save.
- The new process may give the parameters to its optimizer in another order: the moments must find
  theirs by name.
- Each rank saves what it has: what is a `DTensor` in the model or in its optimizer stays one.
""",
    hints=(
        "`dcp.load` fills only the names that `state_dict` gives. Which has the state of an "
        "optimizer that has made no step?",
        "`get_state_dict(model, optimizer)` makes the missing state and names the parameters; "
        "`set_state_dict` is the way back.",
        "`load_state_dict` gets the dictionary of `state_dict`, filled. Hand its two parts to "
        "`set_state_dict(model, optimizer, model_state_dict=…, optim_state_dict=…)`, and take the "
        "position out of it, too.",
    ),
    starter='''
class Run:
    """Model, optimizer and place in the data, for DCP."""

    def __init__(self, model, optimizer, position=0):
        self.model, self.optimizer, self.position = model, optimizer, position

    def state_dict(self):
        return {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state):
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
''',
)

FOLDER = Path("run")


def cases(seed: int) -> list[Case]:
    """Two optimizers, made as before, with the parameters in another order, or in two groups."""
    kinds = [("Adam", "as before"), ("Adam", "turned round"), ("SGD", "as before")]
    kinds += [("SGD", "in two groups"), ("Adam", "in two groups")]
    return [
        {"optimizer": name, "order": order, "position": 50 * (i + 1 + seed % 5), "seed": seed + i}
        for i, (name, order) in enumerate(kinds)
    ]


def ask(case: Case) -> Plain:
    """Return the question that the first process gets: train, and save."""
    return {**case, "files": {}}


def then(case: Case, came: Plain) -> Plain:
    """Return the question to a new process: load, and go on."""
    return {**case, "files": {f"run/{name}": data for name, data in came["files"].items()}}


def probe(answer: Any, question: Plain) -> Plain:
    """Save a run, or load it where its files lie; return what came."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
        try:
            return _resume(answer, question) if question["files"] else _save(answer, question)
        except CheckpointException as error:  # no Exception, but a BaseException
            raise RuntimeError(str(error).strip().splitlines()[-1]) from None
        finally:
            dist.destroy_process_group()


def _save(answer: Any, case: Case) -> Plain:
    model, optimizer = _job(case["optimizer"], case["order"], case["seed"])
    _train(model, optimizer, steps=2)
    for group in optimizer.param_groups:
        group["lr"] /= 2  # as a schedule would
    run = answer(model, optimizer, position=case["position"])
    tensors = _flat(run.state_dict())
    dcp.save({"run": run}, checkpoint_id=FOLDER)
    gathered = sum(t.dim() > 0 and not isinstance(t, DTensor) for t in tensors)
    files = {path.name: path.read_bytes() for path in FOLDER.iterdir()}
    return {"files": files, "gathered": gathered}


def _resume(answer: Any, case: Case) -> Plain:
    model, optimizer = _job(case["optimizer"], case["order"], case["seed"] + 100, resumed=True)
    run = answer(model, optimizer)
    fresh = int(run.position)
    dcp.load({"run": run}, checkpoint_id=FOLDER)
    now = _values(model)
    _train(model, optimizer, steps=2)
    return {"position": [fresh, int(run.position)], "weights": saved([now, _values(model)])}


def read(case: Case, seen: Observation) -> Plain:
    """Return the weights after loading and two steps later, the place, and what was gathered."""
    first, second = seen.data
    now, later = loaded(second["weights"])
    return {"now": now, "later": later, "position": second["position"],
            "gathered": int(first["gathered"])}  # fmt: skip


def judge(case: Case, observed: Plain, expected: Plain) -> Verdict:
    """Weights, moments, place, and whether the parts stayed parts."""
    for when, message in (
        ("now", "After loading the weights are not those that were saved."),
        ("later", "The weights are right, but two steps later they are others: the optimizer did "
         f"not get its state back. Its parameters came {case['order']}."),
    ):  # fmt: skip
        if differences(expected[when], observed[when]):
            return wrong(message, _first(expected[when]), _first(observed[when]))
    if observed["position"] != expected["position"]:
        return wrong("The place in the data is wrong, before loading (0) or after.",
                     expected["position"], observed["position"], credit=0.5)  # fmt: skip
    if observed["gathered"] > expected["gathered"]:
        return wrong("A DTensor became a plain tensor: another number of ranks could not load its "
                     "part, or each rank would hold the whole.", credit=0.5)  # fmt: skip
    return RIGHT


def _first(weights: list[Tensor]) -> str:
    return f"first weight {weights[0].flatten()[0].item():.4f}"


def _job(name: str, order: str, seed: int, *, resumed: bool = False) -> tuple[Any, Any]:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Tanh(), nn.Linear(4, 4, bias=False))
    fully_shard(model, mesh=init_device_mesh("cpu", (1,)))
    parameters: list[Any] = list(model.parameters())
    if order == "turned round" and resumed:
        parameters.reverse()
    if order == "in two groups":
        parameters = [
            {"params": [p], "lr": lr} for p, lr in zip(parameters, (0.1, 0.2), strict=True)
        ]
    options = {"momentum": 0.9} if name == "SGD" else {}
    return model, getattr(torch.optim, name)(parameters, lr=0.1, **options)


def _train(model: nn.Module, optimizer: Any, steps: int) -> None:
    images = torch.linspace(-1, 1, 12).reshape(3, 4)
    for _ in range(steps):
        model(images).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()


def _values(model: nn.Module) -> list[Tensor]:
    return [p.detach().full_tensor().clone() for p in model.parameters()]  # type: ignore[attr-defined]


def _flat(value: Any) -> list[Tensor]:
    if isinstance(value, dict):
        return [tensor for item in value.values() for tensor in _flat(item)]
    return [value] if isinstance(value, Tensor) else []
