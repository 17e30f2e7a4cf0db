"""Exercise 01.2: keep the best weights of a run."""

from typing import Any

import torch
from torch import nn

from course_utils.grading.exercise import RIGHT, Case, Plain, Task, Verdict, wrong
from course_utils.resume.compare import differences

TASK = Task(
    title="Keep the best",
    difficulty="easy",
    minutes=8,
    answer="keep_best",
    text="""
Write `keep_best(model, train_step, evaluate, steps)`. It calls `train_step()` as often as `steps`
says, and after each call `evaluate()`, which returns an accuracy. It returns the model's
`state_dict` **as it was** at the highest accuracy. Where two are equal, keep the earlier one.

`train_step` changes the model in place, as every optimizer does.
""",
    hints=(
        "What happens to the state you kept when the next step is taken?",
        "`state_dict()` returns the model's own tensors. Section 3 of the lesson shows it.",
        "Clone every tensor, or use `copy.deepcopy`, at the moment the accuracy is the best.",
    ),
    starter='''
def keep_best(model, train_step, evaluate, steps):
    """Return the state_dict at the highest accuracy."""
    best = None
    highest = float("-inf")
    for _ in range(steps):
        train_step()
        accuracy = evaluate()
        if accuracy > highest:
            highest = accuracy
            best = model.state_dict()
    return best
''',
)


def cases(seed: int) -> list[Case]:
    """The best step in the middle, the first, a tie, the last, and none above zero."""
    shuffle = torch.randperm(4, generator=torch.Generator().manual_seed(seed)).tolist()
    return [
        {"accuracies": [0.2, 0.9, 0.1, 0.5], "seed": seed},
        {"accuracies": [0.8, 0.6, 0.7], "seed": seed + 1},
        {"accuracies": [0.3, 0.7, 0.7, 0.4], "seed": seed + 2},
        {"accuracies": [0.1 + 0.2 * rank for rank in shuffle] + [0.95], "seed": seed + 3},
        {"accuracies": [0.0, 0.0], "seed": seed + 4},
    ]


def probe(answer: Any, case: Case) -> Plain:
    """Return the state that was kept, after a run whose accuracies are given."""
    torch.manual_seed(case["seed"])
    model = nn.Sequential(nn.Linear(2, 1), nn.BatchNorm1d(1))
    for buffer in model.buffers():
        buffer.fill_(torch.rand(()).item() * 1000)
    accuracies = iter(case["accuracies"])

    def train_step() -> None:
        with torch.no_grad():
            for tensor in model.state_dict().values():
                tensor.add_(1)

    steps = len(case["accuracies"])
    return dict(answer(model, train_step, lambda: next(accuracies), steps) or {})


def judge(case: Case, observed: Plain, expected: Plain) -> Verdict:
    """Find out which step's weights were kept."""
    if not differences(expected, observed):
        return RIGHT
    if not observed:
        return wrong("Nothing was kept: an accuracy may be 0, so begin below every accuracy.")
    missing = sorted(expected.keys() - observed.keys())
    if missing:
        return wrong(f"{missing[0]} is missing: a model's state is more than its parameters.")
    best = 1 + case["accuracies"].index(max(case["accuracies"]))
    kept = _step_of(observed, expected, best)
    if kept is None:
        return wrong("These are not the weights of any step of the run.")
    if kept == len(case["accuracies"]):
        return wrong(
            "You returned the weights of the last step: what you kept moved with the model.",
            expected=f"the weights after step {best}",
            came=f"the weights after step {kept}",
        )
    return wrong(
        f"You kept step {kept}, but step {best} is the first with the highest accuracy.",
        expected=f"the weights after step {best}",
        came=f"the weights after step {kept}",
    )


def _step_of(observed: Plain, expected: Plain, best: int) -> int | None:
    """Every step adds one to every weight, so the difference tells the step."""
    if observed.keys() != expected.keys():
        return None
    shifts = {round(float((observed[k] - expected[k]).double().mean())) for k in expected}
    return best + shifts.pop() if len(shifts) == 1 else None
