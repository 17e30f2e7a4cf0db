"""Exercise 03.4: train a head while the features stand still."""

import copy
from typing import Any

import torch
from torch import nn

from course_utils.grading.exercise import RIGHT, Case, Plain, Task, Verdict, wrong
from course_utils.resume.compare import differences

TASK = Task(
    title="Frozen means frozen",
    difficulty="medium",
    minutes=12,
    answer="train_head",
    text="""
`train_head` shall train `model.head` and leave `model.features` exactly as they are. After it, the
features answer differently, although no weight of theirs has changed. Repair it.

The head has dropout, which must be on while it trains. Keep the optimizer (SGD with learning rate
`lr`) and the loss. The model may come in either mode, and has been trained before.
""",
    hints=(
        "Which tensors of the features are no parameters, and when do they change?",
        "BatchNorm's running statistics move at each forward pass in train mode, whatever "
        "`requires_grad` says.",
        "`model.train()` reaches every submodule. What must come after it?",
    ),
    starter='''
import torch
from torch.nn.functional import mse_loss


def train_head(model, batches, lr):
    """Train the head on pairs of inputs and targets; the features stay as they are."""
    model.features.requires_grad_(False)
    optimizer = torch.optim.SGD(model.head.parameters(), lr=lr)
    model.train()
    for inputs, targets in batches:
        optimizer.zero_grad()
        mse_loss(model(inputs), targets).backward()
        optimizer.step()
''',
)


class Model(nn.Module):
    """Features with BatchNorm and dropout, and a head with dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Linear(3, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.2)
        )
        self.head = nn.Sequential(nn.Dropout(0.4), nn.Linear(6, 1))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Map inputs ``(N, 3)`` to outputs ``(N, 1)``."""
        return self.head(self.features(inputs))


def cases(seed: int) -> list[Case]:
    """In which mode the model comes, and for how long the head is trained."""
    return [
        {"comes in eval mode": False, "batches": 3, "lr": 0.1, "seed": seed},
        {"comes in eval mode": True, "batches": 4 + seed % 3, "lr": 0.05, "seed": seed + 1},
    ]


def probe(answer: Any, case: Case) -> Plain:
    """Return both parts before and after."""
    torch.manual_seed(case["seed"])
    model = Model()
    model(torch.randn(8, 3)).square().mean().backward()  # has been trained before
    model.train(not case["comes in eval mode"])
    before = copy.deepcopy(dict(model.state_dict()))
    batches = [(torch.randn(8, 3) + 2, torch.randn(8, 1)) for _ in range(case["batches"])]
    torch.manual_seed(case["seed"] + 7)
    answer(model, batches, case["lr"])
    return {"before": before, "after": dict(model.state_dict())}


def judge(case: Case, observed: Plain, expected: Plain) -> Verdict:
    """The features to the last bit, the head up to rounding."""
    before, after = expected["before"], observed["after"]
    moved = [name for name in differences(before, after) if name.startswith("features")]
    statistics = [name for name in moved if "running" in name or "batches" in name]
    if moved and moved != statistics:
        return wrong(f"{next(n for n in moved if n not in statistics)} has been trained.")
    if statistics:
        return wrong(
            f"{statistics[0]} has changed: BatchNorm still counts.",
            before[statistics[0]].tolist(),
            after[statistics[0]].tolist(),
        )
    head = [name for name in before if name.startswith("head")]
    if not differences([before[n] for n in head], [after[n] for n in head]):
        return wrong("The head has not been trained.")
    if all(torch.allclose(expected["after"][n], after[n], atol=1e-5) for n in head):
        return RIGHT
    return wrong(
        "The features stand still, but the head was trained in another way: was its dropout on, "
        "that of the features off, and did each batch have its own gradients?",
        expected["after"][head[0]].flatten().tolist(),
        after[head[0]].flatten().tolist(),
    )
