"""Exercise 02.3: save and restore all that decides the next training step."""

import copy
import random
from typing import Any

import numpy as np
import torch
from torch import nn

from course_utils.grading.exercise import RIGHT, Case, Observation, Plain, Task, Verdict, wrong
from course_utils.grading.sandbox.parcels import loaded, saved
from course_utils.resume.compare import differences
from course_utils.resume.rng import RngState, seed_everything

TASK = Task(
    title="Exact resume",
    difficulty="medium",
    minutes=20,
    answer="RunState",
    text="""
A run has a `model`, with dropout and BatchNorm, an `optimizer` and a `scheduler`. Its training step
draws random numbers from PyTorch, from NumPy (noise on the inputs) and from Python's `random`
(flips).

Complete `RunState`: `RunState(run).state_dict()` is written with `torch.save` in the middle of
training. Later, in a new process, a new run is built, the file is read with
`torch.load(weights_only=True)` and handed to `RunState(new_run).load_state_dict(state)`. The new
run must then go on **to the last bit** as the old one did. Without the generators it is worth half.
""",
    hints=(
        "Section 2 of the lesson leaves out one piece after the other. Which do you have?",
        "Three global generators: `torch.get_rng_state()`, `random.getstate()`, and NumPy's, which "
        "`weights_only=True` refuses as it is.",
        "`course_utils.resume.RngState` has a `state_dict` and a `load_state_dict` for all three.",
    ),
    starter='''
class RunState:
    """All that decides the next training step of a run."""

    def __init__(self, run):
        self.run = run

    def state_dict(self):
        return {"model": self.run.model.state_dict()}

    def load_state_dict(self, state):
        self.run.model.load_state_dict(state["model"])
''',
)


class Run:
    """A model in training; every step draws from three generators."""

    def __init__(self, optimizer: str) -> None:
        self.model = nn.Sequential(
            nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 1)
        )
        self.optimizer: torch.optim.Optimizer = getattr(torch.optim, optimizer)(
            self.model.parameters(), lr=0.05
        )
        self.scheduler = torch.optim.lr_scheduler.StepLR(self.optimizer, step_size=2, gamma=0.7)

    def step(self) -> float:
        """Train one step and return its loss."""
        inputs = torch.randn(6, 3) + torch.from_numpy(np.random.randn(6, 3)).float()  # noqa: NPY002
        if random.random() < 0.5:
            inputs = inputs.flip(1)
        self.optimizer.zero_grad()
        loss = self.model(inputs).square().mean()
        loss.backward()
        self.optimizer.step()
        self.scheduler.step()
        return loss.item()


def cases(seed: int) -> list[Case]:
    """Optimizers and numbers of steps before the save."""
    return [
        {"optimizer": "Adam", "steps before": 3, "steps after": 4, "seed": seed},
        {"optimizer": "RMSprop", "steps before": 1, "steps after": 2, "seed": seed + 1},
        {"optimizer": "AdamW", "steps before": 2 + seed % 5, "steps after": 3, "seed": seed + 2},
    ]


def probe(answer: Any, question: Plain) -> Plain:
    """Save after some steps; or, in a new process, load and go on."""
    if "file" not in question:
        seed_everything(question["seed"])
        run = Run(question["optimizer"])
        for _ in range(question["steps before"]):
            run.step()
        np.random.standard_normal()  # noqa: NPY002  # draws two, and keeps one for later
        random.gauss(0, 1)
        return saved(answer(run).state_dict())
    seed_everything(question["seed"] + 1000)
    resumed = Run(question["optimizer"])
    answer(resumed).load_state_dict(loaded(question["file"]))
    restored = copy.deepcopy(
        {
            "model": dict(resumed.model.state_dict()),
            "optimizer": resumed.optimizer.state_dict(),
            "scheduler": {"last_epoch": resumed.scheduler.last_epoch},
            "rng": RngState().state_dict(),
        }
    )
    losses = [resumed.step() for _ in range(question["steps after"])]
    return {**restored, "losses": losses, "mode": resumed.model.training}


def then(case: Case, file: Plain) -> Plain:
    """Ask a new process to go on from the file."""
    return {**case, "file": file}


def read(case: Case, seen: Observation) -> Plain:
    """Return what was restored and how it went on."""
    return seen.data[1]


def judge(case: Case, observed: Plain, expected: Plain) -> Verdict:
    """Name the first piece that was not restored; the generators are worth half."""
    names = {
        "model": "The model is not as it was",
        "optimizer": "The optimizer is not as it was",
        "scheduler": "The scheduler is not as it was",
    }
    for piece, message in names.items():
        different = differences(expected[piece], observed[piece])
        if different:
            return wrong(f"{message}: {different[0]} differs.")
    for library in ("torch", "numpy", "python"):
        if differences(expected["rng"][library], observed["rng"][library]):
            return wrong(
                f"All is restored but the generator of {library}: the steps that follow draw "
                "other numbers.",
                expected=f"losses {_short(expected)}",
                came=f"losses {_short(observed)}",
                credit=0.5,
            )
    if not differences(expected, observed):
        return RIGHT
    return wrong("Everything seems restored, and yet the run goes on otherwise.")


def _short(seen: Plain) -> str:
    return ", ".join(f"{loss:.4f}" for loss in seen["losses"])
