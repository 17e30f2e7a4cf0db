"""Exercise 07.4: a snapshot that training cannot change."""

from typing import Any

import torch
from torch import nn

from course_utils.grading.exercise import RIGHT, Case, Observation, Plain, Task, Verdict, wrong
from course_utils.grading.sandbox.parcels import loaded, place, saved, tensors
from course_utils.resume.compare import differences

TASK = Task(
    title="A snapshot for the background",
    difficulty="hard",
    minutes=20,
    answer="snapshot",
    text="""
A checkpoint that is written in the background must not change while training goes on. Write
`snapshot(state)`: a copy of a nested state (dictionaries, lists, tuples, tensors, numbers, texts)
that shares no memory with it.

Tensors that share memory in the state (tied weights) share memory in the copy, so that nothing is
copied twice. Tensors of the copy ask for no gradient. Dictionaries become plain dictionaries.
""",
    hints=(
        "Walk through the containers and clone tensors. How do you know that you have met "
        "one before?",
        "Remember the copy of each storage: `tensor.untyped_storage().data_ptr()` names it.",
        "Copy a storage once, and make each tensor's copy a view of it: "
        "`torch.as_strided` or `new.set_(storage, offset, size, stride)`.",
    ),
    starter='''
def snapshot(state):
    """Return a copy of a nested state that training cannot change."""
    return dict(state)
''',
)


def cases(seed: int) -> list[Case]:
    """A model, tied weights, an optimizer's state, views of one storage, and the rest."""
    kinds = ("model", "tied", "optimizer", "views", "plain")
    return [{"kind": kind, "seed": seed + i} for i, kind in enumerate(kinds)]


def probe(answer: Any, case: Case) -> Plain:
    """Take a snapshot, and return it in one file with the state that it was taken of."""
    torch.manual_seed(case["seed"])
    state = _state(case["kind"])
    return saved({"state": state, "taken": answer(state)})


def read(case: Case, seen: Observation) -> Plain:
    """Return what the snapshot holds, and what it shares with the state."""
    both = loaded(seen.data)
    state, taken = both["state"], both["taken"]
    after = [tensor for tensor in tensors(taken) if tensor.numel()]
    own = {place(tensor): tensor.untyped_storage().nbytes() for tensor in after}
    shared = {place(tensor) for tensor in tensors(state) if tensor.numel()}
    lists = {id(value) for value in state.values() if isinstance(value, list)}
    return {
        "content": taken,
        "shares memory": bool(shared & own.keys()),
        "shares lists": any(id(value) in lists for value in taken.values()),
        "bytes": sum(own.values()),
        "gradient": any(t.requires_grad for t in tensors(taken)),
        "plain dictionary": type(taken) is dict,
    }


def judge(case: Case, observed: Plain, expected: Plain) -> Verdict:
    """Memory first, then content, then sharing."""
    if observed["shares memory"]:
        return wrong("A tensor of the copy shares memory with the state: training will change it.")
    if observed["shares lists"]:
        return wrong("A list of the copy is the state's own: what is added to one is in both.")
    different = differences(expected["content"], observed["content"])
    if different:
        return wrong(f"The copy differs from what the state was, at {different[0] or 'the top'}.")
    if observed["gradient"]:
        return wrong("A tensor of the copy asks for a gradient.", credit=0.5)
    if observed["bytes"] > expected["bytes"]:
        return wrong(
            "Memory that is shared in the state was copied more than once.",
            f"{expected['bytes']} bytes",
            f"{observed['bytes']} bytes",
            credit=0.5,
        )
    if not observed["plain dictionary"]:
        return wrong("The copy is not a plain dictionary.", credit=0.5)
    return RIGHT


def _state(kind: str) -> dict[str, Any]:
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    if kind == "model":
        return model.state_dict()
    if kind == "tied":
        weight = nn.Parameter(torch.rand(50, 4))
        return {"encoder": weight, "decoder": weight, "turned": weight.t()}
    if kind == "optimizer":
        optimizer = torch.optim.Adam(model.parameters())
        model(torch.rand(4, 3)).sum().backward()
        optimizer.step()
        return {"optimizer": optimizer.state_dict(), "epoch": 3}
    if kind == "views":
        large = torch.rand(40)
        return {"all": large, "part": large[3:7], "rows": large.view(8, 5)[::2]}
    return {"list": [1, "a", torch.tensor(2.5)], "tuple": (None, True), "empty": torch.empty(0)}
