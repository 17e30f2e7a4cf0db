"""Exercise 06.4: write a safetensors file by hand."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load

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
from course_utils.resume.compare import differences

TASK = Task(
    title="safetensors by hand",
    difficulty="hard",
    minutes=25,
    answer="write_safetensors",
    text="""
Write `write_safetensors(tensors, path)` without the library. The file is

- 8 bytes: the length of the header, an unsigned integer, little-endian;
- the header: JSON, from each name to `{"dtype": …, "shape": […], "data_offsets": [start, stop]}`;
- the numbers of all tensors, row by row, without gaps. Offsets count from the end of the header.

The dtypes here are float32 (`"F32"`), float16 (`"F16"`) and int64 (`"I64"`). The library must
read your file.
""",
    hints=(
        '`struct.pack("<Q", length)` makes the first eight bytes; the length is that of the '
        "**bytes** of the JSON.",
        "Collect the bytes of all tensors first; the offsets follow from their lengths, "
        "one after the other.",
        "A transposed tensor is not stored row by row: `tensor.contiguous().numpy().tobytes()`.",
    ),
    starter='''
def write_safetensors(tensors, path):
    """Write named tensors as a safetensors file."""
    raise NotImplementedError
''',
)
DTYPES = {"F32": torch.float32, "F16": torch.float16, "I64": torch.int64}


NAME = "file.safetensors"


def cases(seed: int) -> list[Case]:
    """One tensor, several dtypes, a transposed one, a name with umlauts, an empty and a scalar."""
    return [
        {"tensors": [["w", "F32", [3]]], "turn": False, "seed": seed},
        {
            "tensors": [["a", "I64", [2, 2]], ["b", "F16", [3]], ["c", "F32", [1, 5]]],
            "turn": False,
            "seed": seed + 1,
        },
        {"tensors": [["turned", "F32", [2, 3]]], "turn": True, "seed": seed + 2},
        {"tensors": [["größe", "F32", [2]], ["x", "I64", [2]]], "turn": False, "seed": seed + 3},
        {"tensors": [["none", "F32", [0, 4]], ["one", "F32", []]], "turn": False, "seed": seed + 4},
    ]


def ask(case: Case) -> Plain:
    """Return the tensors to write; whether they are to be turned is part of the case."""
    generator = torch.Generator().manual_seed(case["seed"])
    tensors = {
        name: torch.randint(-99, 99, shape, generator=generator).to(DTYPES[dtype])
        for name, dtype, shape in case["tensors"]
    }
    return {"tensors": tensors, "turn": case["turn"]}


def watch(case: Case) -> Watch:
    """The file that is written is taken as it lies there."""
    return Watch(files=True)


def probe(answer: Any, question: Plain) -> Plain:
    """Let the answer write its file."""
    tensors = question["tensors"]
    turned = {name: tensor.t() for name, tensor in tensors.items()}
    answer(turned if question["turn"] else tensors, Path(NAME).absolute())
    return None


def read(case: Case, seen: Observation) -> Plain:
    """Return what the library reads from the file."""
    try:
        return {"read": load(seen.left[NAME] or b"")}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}


def judge(case: Case, observed: Plain, expected: Plain) -> Verdict:
    """Whether the library reads it, then what it reads."""
    if "error" in observed:
        return wrong(f"The library cannot read the file: {observed['error']}")
    different = differences(expected["read"], observed["read"])
    if different:
        return wrong(f"The library reads the file, but {different[0]} has changed.")
    return RIGHT
