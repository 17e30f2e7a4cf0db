"""Exercise 02.1: a tutorial's resume that trains nothing."""

import copy
from typing import Any

import torch
from torch import nn

from course_utils.grading.exercise import RIGHT, Case, Plain, Task, Verdict, wrong
from course_utils.resume.compare import differences

TASK = Task(
    title="Repair the tutorial",
    difficulty="easy",
    minutes=10,
    answer="resume",
    text="""
This `resume` is put together from well-known tutorials. It raises no error, and after it the loss
never falls again. Repair it.

`make_model()` returns a new model, `make_optimizer(parameters)` a new optimizer. The checkpoint
holds `"model"` and `"optimizer"`, the `state_dict` of each. Return the model and the optimizer,
**ready to train on** as if the run had never been stopped. All right but the mode is worth half.
""",
    hints=(
        "Whose parameters does the optimizer change when it steps?",
        "Build first, the optimizer over the parameters of the model that you return; then load.",
        "In which mode was the model while it trained? `eval()` is for evaluation only.",
    ),
    starter='''
def resume(make_model, make_optimizer, checkpoint):
    """Return the model and the optimizer, ready to train on."""
    model = make_model()
    optimizer = make_optimizer(model.parameters())

    model = make_model()
    model.load_state_dict(checkpoint["model"])
    optimizer.load_state_dict(checkpoint["optimizer"])
    model.eval()
    return model, optimizer
''',
)


def cases(seed: int) -> list[Case]:
    """Optimizers with different memories; their learning rate was lowered before the save."""
    return [
        {"optimizer": "Adam", "lr": 0.01, "lr when saved": 0.004, "seed": seed},
        {"optimizer": "SGD", "lr": 0.1, "lr when saved": 0.1, "seed": seed + 1},
        {"optimizer": "AdamW", "lr": 0.01, "lr when saved": 0.002 + seed % 7 / 1000, "seed": seed},
    ]


def probe(answer: Any, case: Case) -> Plain:
    """Return the state after the resume, and after two steps more."""
    model = _make_model()
    optimizer = _make_optimizer(case, model.parameters())
    optimizer.param_groups[0]["lr"] = case["lr when saved"]
    _train(model, optimizer, case["seed"], steps=3)
    checkpoint = copy.deepcopy(
        {"model": model.state_dict(), "optimizer": optimizer.state_dict()},
    )
    model, optimizer = answer(_make_model, lambda p: _make_optimizer(case, p), checkpoint)
    seen = copy.deepcopy(
        {
            "loaded": dict(model.state_dict()),
            "optimizer": optimizer.state_dict(),
        }
    )
    _train(model, optimizer, case["seed"] + 100, steps=2)
    return {**seen, "trained": dict(model.state_dict())}


def judge(case: Case, observed: Plain, expected: Plain) -> Verdict:
    """Look for the first thing that is not as it was."""
    if differences(expected["loaded"], observed["loaded"]):
        return wrong("The model's weights are not those of the checkpoint.")
    if _weights(observed["trained"]) == _weights(observed["loaded"]):
        return wrong(
            "Two training steps changed no weight: the optimizer has the parameters of another "
            "model.",
            expected="other weights after two steps",
            came="the same weights",
        )
    if differences(expected["optimizer"]["param_groups"], observed["optimizer"]["param_groups"]):
        came, lr = (seen["optimizer"]["param_groups"][0].get("lr") for seen in (observed, expected))
        return wrong("The optimizer's settings are not those of the checkpoint.", lr, came)
    if differences(expected["optimizer"], observed["optimizer"]):
        return wrong("The optimizer has forgotten what it knew: its state was not loaded.")
    if not differences(_counted(observed["loaded"]), _counted(observed["trained"])):
        return wrong(
            "The model is in eval mode: dropout is off, and BatchNorm's statistics stand still.",
            expected="2 batches more in num_batches_tracked after two steps",
            came="as many as before",
            credit=0.5,
        )
    if differences(expected["trained"], observed["trained"]):
        return wrong("Right after the resume all is well, but two steps later the weights differ.")
    return RIGHT


def _make_model() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.3), nn.Linear(4, 1))


def _make_optimizer(case: Case, parameters: Any) -> torch.optim.Optimizer:
    extra = {"momentum": 0.9} if case["optimizer"] == "SGD" else {}
    made: torch.optim.Optimizer = getattr(torch.optim, case["optimizer"])(
        parameters, lr=case["lr"], **extra
    )
    return made


def _train(model: nn.Module, optimizer: torch.optim.Optimizer, seed: int, steps: int) -> None:
    torch.manual_seed(seed)
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.randn(6, 3)).square().mean().backward()
        optimizer.step()


def _counted(state: Plain) -> Plain:
    """Return the batches that BatchNorm has seen: in training mode it counts, whatever is said."""
    return state["1.num_batches_tracked"]


def _weights(state: Plain) -> Plain:
    return {k: v.tolist() for k, v in state.items() if k.endswith(("weight", "bias"))}
