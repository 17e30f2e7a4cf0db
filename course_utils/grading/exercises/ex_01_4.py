"""Exercise 01.4: list a file's imports without making them."""

import importlib
import random
import sys
import tempfile
import types
from collections.abc import Set
from pathlib import Path
from typing import Any

import torch

from course_utils.grading.exercise import (
    RIGHT,
    Case,
    Observation,
    Plain,
    Task,
    Verdict,
    Watch,
    wrong,
)
from course_utils.grading.sandbox.acting import KINDS, Acts, acted

TASK = Task(
    title="Read without running",
    difficulty="hard",
    minutes=20,
    answer="imports",
    text="""
A colleague sends you a `.pt` file. Before anybody loads it, you want to know what its pickle would
import: harmless rebuild functions, a class of a project that you do not have, or `posix.system`.

Write `imports(path)` with the standard library alone (`zipfile`, `pickle`, `pickletools`). It
returns the set of all globals of the file's `data.pkl`, the harmless ones too, as texts such as
`"torch._utils._rebuild_tensor_v2"`. **Nothing of the file may run**, nothing may be imported. The
file may have been renamed, and may be written with `pickle_protocol=4`.
""",
    hints=(
        "`zipfile` opens the file; look for the entry whose name ends in `/data.pkl`.",
        "Protocol 2 names an import in `GLOBAL`; protocol 4 puts two texts on the stack, "
        "possibly from the memo, and says `STACK_GLOBAL`.",
        "Let Python keep the stack: in a subclass of `pickle.Unpickler`, `find_class` notes the "
        "name and returns a class of yours that accepts everything and does nothing.",
    ),
    starter='''
def imports(path):
    """Return the set of globals that loading the file would import."""
    raise NotImplementedError
''',
)

NAME = "renamed.pt"
HARMLESS = {
    "collections": ["Counter", "OrderedDict", "deque"],
    "decimal": ["Decimal"],
    "fractions": ["Fraction"],
    "pathlib": ["PurePosixPath"],
}


def cases(seed: int) -> list[Case]:
    """Files that act, plain ones of both protocols, and one of a project that is not there."""
    rng = random.Random(seed)
    some = rng.sample(["Counter", "OrderedDict", "deque", "Decimal", "Fraction"], 3)
    project = f"project_{rng.randrange(1000)}"
    return [
        *({"objects": [], "acts": kind, "protocol": 2} for kind in KINDS),
        {"objects": ["OrderedDict", "Fraction"], "protocol": 2},
        {"objects": ["Counter", "deque", "PurePosixPath"], "protocol": 4},
        {"objects": some, "protocol": 2, "project": project},
        {"objects": some, "acts": rng.choice(KINDS), "protocol": 4, "project": project},
    ]


def ask(case: Case) -> Plain:
    """Return the file that the case describes."""
    return {"files": {NAME: _file(case)}}


def watch(case: Case) -> Watch:
    """A folder that the file makes is seen, also if it is removed again."""
    return Watch(calls="wanted", files=True)


def probe(answer: Any, question: Plain) -> Plain:
    """Return the names, as a set if they came as one."""
    names = answer(Path(NAME).absolute())
    return set(names) if isinstance(names, Set) else sorted(names)


def read(case: Case, seen: Observation) -> Plain:
    """Return the names, and whether the file's own code has run."""
    return {"imports": sorted(seen.data), "set": isinstance(seen.data, set), "ran": acted(seen)}


def judge(case: Case, observed: Plain, expected: Plain) -> Verdict:
    """Nothing may have run; then compare the names."""
    if observed["ran"]:
        return wrong("The file's own code has run: it made a folder on your machine.")
    missing = sorted(set(expected["imports"]) - set(observed["imports"]))
    surplus = sorted(set(observed["imports"]) - set(expected["imports"]))
    if missing:
        return wrong(f"{missing[0]} is imported too, but is not in your set.")
    if surplus:
        return wrong(f"{surplus[0]} is in your set, but the pickle does not import it.")
    if not observed["set"]:
        return wrong("The names are right; return them as a set.", credit=0.5)
    return RIGHT


def _file(case: Case) -> bytes:
    content: dict[str, Any] = {"weight": torch.zeros(2, 2), "note": "csystem\nexec\n"}
    if case.get("acts"):
        content["config"] = Acts(case["acts"])
    for module, names in HARMLESS.items():
        for name in filter(case["objects"].__contains__, names):
            content[name] = getattr(importlib.import_module(module), name)()
    project = case.get("project")
    if project:
        sys.modules[project] = module_ = types.ModuleType(project)
        module_.Net = type("Net", (), {"__module__": project})  # type: ignore[attr-defined]
        content["net"] = module_.Net()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "first_name.pt")  # the name of the archive inside
        torch.save(content, path, pickle_protocol=case["protocol"])
        sys.modules.pop(project or "", None)
        return path.read_bytes()
