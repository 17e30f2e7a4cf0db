"""How many exercises the omniscient cheat of ``tests/grading`` wins, in this build or an older one.

    python benchmarks/cheating.py                       # this checkout
    PYTHONPATH=<checkout> python benchmarks/cheating.py  # another one, graded by its own grader

Each way to cheat is tried without any answer, which deserves nothing, and with each labelled wrong
answer of ``tests/wrong_answers``, which deserves what it earns alone. An exercise counts as won
where one submission earns more than it deserves.
"""

import argparse
import sys
from concurrent.futures import ProcessPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
SEED = 4_711
WON = 1e-9


def main() -> None:
    """Print, by exercise, the best that was deserved and what it earned."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("lessons", nargs="*", help="numbers, such as 01; all by default")
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    slugs = _omniscient().part("sheets").lessons()
    slugs = [s for s in slugs if not options.lessons or s[:2] in options.lessons]
    won: dict[str, dict[str, tuple[float, float]]] = {}
    tried = 0
    with ProcessPoolExecutor(options.workers) as pool:
        for found, of in pool.map(_lesson, slugs):
            won |= found
            tried += of
    for key, how in sorted(won.items()):
        ways = "; ".join(f"{way}: {a:g} -> {b:g}" for way, (a, b) in how.items())
        print(f"{key}  {ways}")
    alone = sum(any("no answer" in way for way in how) for how in won.values())
    print(f"{len(won)} of {tried} exercises won, {alone} of them without any answer")


def _lesson(slug: str) -> tuple[dict[str, dict[str, tuple[float, float]]], int]:
    """Try everything in one lesson."""
    cheat = _omniscient()
    exercise, grader = cheat.part("exercise"), cheat.part("grader", "classroom.grader")
    released = cheat.part("release", "classroom.release").assignment(slug)
    keys = exercise.all_exercises(slug[:2])
    tasks = {key: exercise.load_exercise(key).task for key in keys}
    ways = cheat.strategies({key: cheat.at_home(key) for key in keys})
    won: dict[str, dict[str, tuple[float, float]]] = {}

    def credits(code: str, answers: dict[str, str]) -> dict[str, float]:
        notebook = cheat.cheats(released, code, tasks, answers)
        return dict(grader.grade(notebook, SEED).credits)

    def note(name: str, alone: dict[str, float], got: dict[str, float]) -> None:
        for key, credit in got.items():
            if credit > alone.get(key, 0.0) + WON:
                won.setdefault(key, {})[name] = alone.get(key, 0.0), credit

    for way, code in ways.items():
        note(f"{way}, no answer", {}, credits(code, {}))
    for names in _rounds(keys):
        answers = {k: path.read_text(encoding="utf-8") for k, path in names.items()}
        alone = credits("", answers)
        for way in ("patcher", "homework, leaves", "homework, flags"):
            got = credits(ways[way], answers)
            for key, path in names.items():
                note(f"{way}, {path.stem}", alone, {key: got[key]})
    grader.close_sandboxes()
    return won, len(keys)


def _rounds(keys: list[str]) -> list[dict[str, Path]]:
    """One labelled wrong answer of each exercise at a time, until all have had their turn."""
    answers = {k: sorted((ROOT / "tests/wrong_answers" / k.replace(".", "_")).glob("*.py"))
               for k in keys}  # fmt: skip
    most = max(map(len, answers.values()))
    return [{k: a[n] for k, a in answers.items() if n < len(a)} for n in range(most)]


def _omniscient() -> Any:
    """Return the module of this checkout's tests, whichever build is graded with."""
    sys.path.insert(0, str(ROOT / "tests" / "grading"))
    return import_module("omniscient")


if __name__ == "__main__":
    main()
