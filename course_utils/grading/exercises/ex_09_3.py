"""Exercise 09.3: compare an export with its module, and be fooled by nothing."""

from typing import Any

import torch

from course_utils.grading.exercise import RIGHT, Case, Plain, Task, Verdict, wrong

TASK = Task(
    title="Do they agree?",
    difficulty="medium",
    minutes=12,
    answer="gap",
    text="""
Write `gap(expected, came)`: the largest absolute difference between two tensors, as a Python
float, to judge an export by. It is `inf` where they cannot be compared: another shape, another
dtype, or a NaN or infinity on one side that is not on the other. The same NaN or infinity at the
same place is no difference. Two empty tensors of one shape have a gap of 0.
""",
    hints=(
        "Broadcasting compares a (3, 1) with a (3,) and says nothing. Compare shapes and "
        "dtypes first.",
        "`inf - inf` is NaN, and `max` of NaN is NaN. Set the difference to 0 where both "
        "are the same.",
        "`same = (a == b) | (a.isnan() & b.isnan())`; what is NaN in the difference after "
        "that is `inf`.",
    ),
    starter='''
def gap(expected, came):
    """Return the largest absolute difference of two tensors, as a float."""
    return (expected - came).abs().max().item()
''',
)
NAN, INF = float("nan"), float("inf")


def cases(seed: int) -> list[Case]:
    """Near, far, other shapes and dtypes, NaN and infinity on both sides or on one, empty."""
    a = torch.randn(3, 4, generator=torch.Generator().manual_seed(seed))
    x = torch.tensor
    return [
        {"a": a, "b": a + 0.25},
        {"a": a, "b": a.clone()},
        {"a": x([1.0, 2.0, 3.0]), "b": x([[1.0], [2.0], [3.0]])},
        {"a": x([1.0, 2.0]), "b": x([1.0, 2.0], dtype=torch.float64)},
        {"a": x([NAN, 1.0]), "b": x([NAN, 1.5])},
        {"a": x([NAN, 1.0]), "b": x([1.0, 1.0])},
        {"a": x([INF, -INF, 0.0]), "b": x([INF, -INF, 0.0])},
        {"a": x([INF, 0.0]), "b": x([-INF, 0.0])},
        {"a": torch.empty(0, 3), "b": torch.empty(0, 3)},
        {"a": x([250], dtype=torch.uint8), "b": x([255], dtype=torch.uint8)},
        {"a": x([True, False]), "b": x([True, True])},
    ]


def probe(answer: Any, case: Case) -> Plain:
    """Return the gap in both directions."""
    return [answer(case["a"], case["b"]), answer(case["b"], case["a"])]


def judge(case: Case, observed: Plain, expected: Plain) -> Verdict:
    """Compare the two numbers."""
    if not all(isinstance(number, float) for number in observed):
        return wrong("A Python float must come.", expected, observed)
    right = all(
        a == b or abs(a - b) < 1e-6 * max(1.0, abs(a))
        for a, b in zip(expected, observed, strict=True)
    )
    return RIGHT if right else wrong("The gap is another one.", expected, observed)
