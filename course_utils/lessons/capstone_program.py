"""Asks the program that a script of the capstone left: run in a process of its own, as a script.

    python capstone_program.py FOLDER

FOLDER holds ``model.pt2`` and ``images.safetensors``; the program's logits go to
``logits.safetensors``. Whether they are right is judged elsewhere.
"""

import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from course_utils.portable import load_program

PROGRAM, IMAGES, LOGITS = "model.pt2", "images.safetensors", "logits.safetensors"
FEW = 3


def main(folder: Path) -> None:
    """Call the program twice on all images, and on a few."""
    images = load_file(folder / IMAGES)["images"]
    program = load_program(folder / PROGRAM).module()
    with torch.no_grad():
        given = {"once": program(images), "again": program(images), "few": program(images[:FEW])}
    for logits in given.values():
        if not isinstance(logits, Tensor):
            raise TypeError(f"it gives {type(logits).__name__}, not a tensor of logits")
    save_file({name: logits.contiguous() for name, logits in given.items()}, folder / LOGITS)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
