"""Exercise 08.2: cut the parts of some ranks anew for others."""

from typing import Any

import torch

from course_utils.grading.exercise import RIGHT, Case, Observation, Plain, Task, Verdict, wrong
from course_utils.grading.sandbox.parcels import loaded, place, saved
from course_utils.resume.compare import differences

TASK = Task(
    title="Reshard",
    difficulty="medium",
    minutes=12,
    answer="reshard",
    text="""
A tensor was saved as a list of parts, one per rank, cut along the first dimension; some may be
empty. Write `reshard(parts, ranks)`: the parts for another number of ranks, cut as `torch.chunk`
cuts, but always as many parts as ranks: the missing ones are empty, with the right shape in the
other dimensions and the right dtype.

No part of the result may share memory with another one or with the input: each rank will train
its own.
""",
    hints=(
        "Put the parts together first. `torch.chunk` may return fewer parts than you ask for.",
        "An empty part: `whole[:0]` has the shape and dtype it needs.",
        "`chunk` returns views of one storage: clone each.",
    ),
    starter='''
import torch


def reshard(parts, ranks):
    """Return the parts of a tensor for another number of ranks."""
    return list(torch.chunk(torch.cat(parts), ranks))
''',
)


def cases(seed: int) -> list[Case]:
    """More ranks, fewer, more than rows, empty parts, other dtypes."""
    kinds = [
        ([3, 3], 3, "float32"),
        ([2, 2, 1, 0], 2, "float32"),
        ([2, 1], 5, "int64"),
        ([4], 1, "bfloat16"),
        ([3, 2], 4, "float64"),
        ([3, 3, 1 + seed % 3], 4, "float32"),
    ]
    return [{"rows": r, "ranks": n, "dtype": d, "seed": seed + n} for r, n, d in kinds]


def probe(answer: Any, case: Case) -> Plain:
    """Reshard random parts; return both in one file, so that shared memory shows."""
    generator = torch.Generator().manual_seed(case["seed"])
    whole = torch.randint(-9, 9, (sum(case["rows"]), 3), generator=generator)
    parts = [p.clone() for p in whole.to(getattr(torch, case["dtype"])).split(case["rows"])]
    return saved([parts, list(answer(parts, case["ranks"]))])


def read(case: Case, seen: Observation) -> Plain:
    """Return the result and whether memory is shared."""
    parts, result = loaded(seen.data)
    places = [place(t) for t in [*result, *parts] if t.numel()]
    return {"parts": result, "shared": len(places) != len(set(places))}


def judge(case: Case, observed: Plain, expected: Plain) -> Verdict:
    """Number, then content, then memory."""
    right, came = expected["parts"], observed["parts"]
    if len(came) != len(right):
        return wrong("There is not one part for each rank.", len(right), len(came))
    if differences(right, came):
        wanted, shapes = ([list(tensor.shape) for tensor in parts] for parts in (right, came))
        if shapes != wanted:
            return wrong("The parts have other shapes.", wanted, shapes)
        return wrong("The parts have the right shapes, but other values or another dtype.")
    if observed["shared"]:
        return wrong("Parts share memory: one rank would change another's.", credit=0.5)
    return RIGHT
