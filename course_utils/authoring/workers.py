"""Work on several notebooks at once, with a progress bar."""

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm


@dataclass(frozen=True)
class Outcome:
    """How one notebook fared: the seconds it took, and its error or an empty text."""

    name: str
    seconds: float
    error: str


def work(task: Callable[[Path], object], paths: Sequence[Path], label: str) -> list[Outcome]:
    """Run ``task`` on every path, as many at once as there are cores, in any order.

    Returns:
        One outcome per path, in the order of ``paths``.
    """
    outcomes: dict[Path, Outcome] = {}
    with (
        ProcessPoolExecutor(max_workers=os.cpu_count()) as pool,
        tqdm(total=len(paths), desc=label, unit="notebook") as bar,
    ):
        running = {pool.submit(_timed, task, path): path for path in paths}
        for future in as_completed(running):
            path = running[future]
            outcomes[path] = future.result()
            bar.set_postfix_str(path.stem)
            bar.update()
    return [outcomes[path] for path in paths]


def _timed(task: Callable[[Path], object], path: Path) -> Outcome:
    started = time.perf_counter()
    try:
        task(path)
        error = ""
    except Exception as failure:  # one broken lesson must not hide the others
        error = f"{type(failure).__name__}: {failure}"
    return Outcome(path.stem, time.perf_counter() - started, error)
