"""Exercise 04.2: send each GPU's tensors to a device of your own."""

from pathlib import Path
from typing import Any
from unittest import mock

import torch

from course_utils.grading.exercise import RIGHT, Case, Observation, Plain, Task, Verdict, wrong
from course_utils.grading.sandbox.parcels import loaded, saved

TASK = Task(
    title="Retarget, and miss nothing",
    difficulty="medium",
    minutes=12,
    answer="retarget",
    text="""
A file was saved by a machine with several GPUs. Write `retarget(path, moves)`: it loads the file
with the tensors of each location tag on the device that `moves` names, for example `{"cuda:0":
"cpu", "cuda:1": "meta"}`. (`meta` plays a second device here; it holds shapes and no numbers.)

A tag in the file that `moves` does not name is a `KeyError` that names the tag. A tag in `moves`
that the file does not hold is fine.
""",
    hints=(
        "What does `torch.load` do with a tag that the dictionary lacks? It goes on as if "
        "you had said "
        "nothing.",
        "`map_location` may be a function of `(storage, tag)`; it is called for every storage.",
        "In that function look the tag up with `moves[tag]`, and let "
        "`torch.serialization.default_restore_location(storage, device)` do the move.",
    ),
    starter='''
import torch


def retarget(path, moves):
    """Load a file with each location tag on the device that `moves` names."""
    return torch.load(path, map_location=moves)
''',
)


NAME = "file.pt"


def cases(seed: int) -> list[Case]:
    """One tag, two tags, a surplus entry, a missing one, and tags that begin alike."""
    return [
        {"tags": ["cuda:0"], "moves": {"cuda:0": "cpu"}, "seed": seed},
        {
            "tags": ["cuda:0", "cuda:1"],
            "moves": {"cuda:0": "cpu", "cuda:1": "meta"},
            "seed": seed + 1,
        },
        {
            "tags": ["cuda:1", "cuda:0"],
            "moves": {"cuda:0": "meta", "cuda:1": "cpu", "cuda:2": "cpu"},
            "seed": seed + 2,
        },
        {"tags": ["cpu", "cuda:3"], "moves": {"cuda:3": "cpu"}, "seed": seed + 3},
        {"tags": ["cuda:0", f"cuda:1{seed % 7}"], "moves": {"cuda:0": "cpu"}, "seed": seed + 4},
    ]


def ask(case: Case) -> Plain:
    """Return a file with one tensor per tag."""
    generator = torch.Generator().manual_seed(case["seed"])
    tensors = {tag: torch.rand(i + 1, generator=generator) for i, tag in enumerate(case["tags"])}
    tag_of = {tensor.nbytes: tag for tag, tensor in tensors.items()}
    with mock.patch.object(torch.serialization, "location_tag", lambda s: tag_of[s.nbytes()]):
        return {"files": {NAME: saved(tensors)}, "moves": case["moves"]}


def probe(answer: Any, question: Plain) -> Plain:
    """Return what the answer loads, as a file, or the KeyError."""
    try:
        return {"loaded": saved(answer(Path(NAME).absolute(), question["moves"]))}
    except KeyError as error:
        return {"KeyError": str(error)}


def read(case: Case, seen: Observation) -> Plain:
    """Return the devices and values."""
    if "KeyError" in seen.data:
        return seen.data
    content = loaded(seen.data["loaded"])
    values = {tag: t for tag, t in content.items() if not t.is_meta}
    return {"devices": {tag: str(t.device) for tag, t in content.items()}, "values": values}


def judge(case: Case, observed: Plain, expected: Plain) -> Verdict:
    """Compare devices and values, or the tag that must be named."""
    missing = [tag for tag in case["tags"] if tag not in case["moves"]]
    if missing:
        if missing[0] in observed.get("KeyError", ""):
            return RIGHT
        came = observed.get("KeyError", "no KeyError")
        return wrong(
            f"The file holds {missing[0]}, which `moves` does not name: a KeyError must say so.",
            f"a KeyError that names {missing[0]}",
            came,
        )
    if "KeyError" in observed:
        return wrong("There is a KeyError, but `moves` names every tag of the file.")
    if observed["devices"] != expected["devices"]:
        return wrong(
            "Some tensors are on another device.", expected["devices"], observed["devices"]
        )
    if any(not torch.equal(observed["values"][tag], t) for tag, t in expected["values"].items()):
        return wrong("The devices are right, but values have changed.")
    return RIGHT
