"""Starts the programs of the four frameworks, for lesson 10 and for tests."""

import json
import os
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from course_utils.extras import require
from course_utils.lessons.frameworks.tiny_run import SAVE_AT, Result

NAMES = ("lightning", "accelerate", "trainer", "dcp")
# The same everywhere: no GPU, one thread, no network.
SETTINGS = {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
SECONDS = 300


def require_frameworks() -> None:
    """Check that the frameworks are installed.

    Raises:
        ImportError: one is not; it says what to install.
    """
    require("frameworks", "lightning", "accelerate", "transformers")


def start_all(folder: Path) -> dict[str, "Future[dict[str, Result]]"]:
    """Run every framework's program, two at a time: straight, killed and resumed, in each way.

    Args:
        folder: gets a folder for each framework.

    Returns:
        For each framework, what will hold its results by way.
    """
    pool = ThreadPoolExecutor(2)
    running = {name: pool.submit(measured, name, folder / name) for name in NAMES}
    pool.shutdown(wait=False)
    return running


def measured(name: str, folder: Path) -> dict[str, Result]:
    """Run one framework's program in a process of its own; return the results by way.

    Raises:
        RuntimeError: it failed; holds what it printed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", f"{__package__}.with_{name}", os.fspath(folder)]
    done = subprocess.run(
        command,
        env=os.environ | SETTINGS,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
    )
    if done.returncode:
        raise RuntimeError(f"the program of {name} failed:\n{done.stdout}")
    results = json.loads((folder / "results.json").read_text())
    return {way: Result(**result) for way, result in results.items()}


def checkpoint_of(name: str, run: Path) -> list[Path]:
    """Return the files that a framework wrote at step 9 of a run, by name."""
    places = {
        "lightning": f"step={SAVE_AT}.ckpt",
        "accelerate": f"step_{SAVE_AT}",
        "trainer": f"checkpoint-{SAVE_AT}",
        "dcp": f"step-{SAVE_AT}",
    }
    place = run / places[name]
    return sorted(place.iterdir()) if place.is_dir() else [place]
