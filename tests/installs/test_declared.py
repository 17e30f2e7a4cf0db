"""Every package that is imported is declared, in the extra that its wing belongs to.

What is imported is read from the code, what is declared from ``pyproject.toml``.
"""

import ast
import re
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from declared import FOR_LEARN, FOR_TEST, distributions, normal

from course_utils.authoring.census_others import OTHERS

ROOT = Path(__file__).resolve().parents[2]
DISTRIBUTIONS = packages_distributions()
# A folder or file, and the extras whose packages it may import; the longest that fits counts.
BELONGS = {
    "course_utils": (),
    "course_utils/formats": ("torch",),
    "course_utils/files": ("torch",),
    "course_utils/ckpt": ("torch",),
    "course_utils/anatomy": ("torch",),
    "course_utils/checkpoint": ("torch",),
    "course_utils/resume": ("torch",),
    "course_utils/partial": ("torch",),
    "course_utils/devices": ("torch",),
    "course_utils/portable": ("torch", "export"),
    "course_utils/safety": ("torch",),
    "course_utils/distributed": ("torch",),
    "course_utils/lessons": ("course",),
    "course_utils/lessons/frameworks": ("course", "frameworks"),
    "course_utils/grading": ("course", "instructor"),
    "course_utils/authoring": ("test", "frameworks"),
    "notebooks/source": FOR_LEARN,
    "benchmarks": FOR_TEST,
    "tests": FOR_TEST,
}
# Libraries that no extra has: each is imported only where it is installed, by the writer for it.
WHERE_FOUND = {ROOT / "course_utils/authoring/census_others.py": set(OTHERS)}
OWN = {"course_utils", "benchmarks", *(path.stem for path in (ROOT / "tests").rglob("*.py"))}
FILES = sorted(path for top in BELONGS if "/" not in top for path in (ROOT / top).rglob("*.py"))
FILES += sorted((ROOT / "notebooks/source").rglob("*.py"))


def imported(path: Path) -> Iterator[str]:
    """Yield the full names of the modules that a file imports, at once or later."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def packages(path: Path) -> set[str]:
    """Return the packages of others that a file imports."""
    tops = {name.partition(".")[0] for name in imported(path)}
    return tops - OWN - sys.stdlib_module_names - {"gone_module"}  # which a test writes itself


def undeclared(path: Path, extras: tuple[str, ...]) -> set[str]:
    """Return what a file imports and these extras do not bring."""
    declared = distributions(*extras)
    return {
        package
        for package in packages(path) - WHERE_FOUND.get(path, set())
        if not declared & {normal(name) for name in DISTRIBUTIONS.get(package, [package])}
    }


@pytest.mark.parametrize("top", BELONGS)
def test_every_imported_package_is_declared_where_it_belongs(top):
    files = [path for path in FILES if home(path) == top]
    assert files, f"nothing lies in {top}"
    wrong = {str(path.relative_to(ROOT)): undeclared(path, BELONGS[top]) for path in files}
    assert {name: packages for name, packages in wrong.items() if packages} == {}


def home(path: Path) -> str:
    name = path.relative_to(ROOT).as_posix()
    return max((top for top in BELONGS if name.startswith(f"{top}/")), key=len)


def test_what_lessons_and_exercises_reach_is_in_the_learners_install():
    """Grading has parts for learners and parts for instructors; no import leads across."""
    lessons = sorted((ROOT / "notebooks/source").rglob("*.py"))
    grading = ROOT / "course_utils/grading"
    reached, new = (
        set(),
        {*lessons, *grading.glob("exercises/*.py"), *grading.glob("solutions/*.py")},
    )
    while new:
        reached |= new
        new = {module for path in new for module in own_modules(path)} - reached
    assert grading / "checking.py" in reached
    wrong = {str(path.relative_to(ROOT)): undeclared(path, FOR_LEARN) for path in reached}
    assert {name: packages for name, packages in wrong.items() if packages} == {}


def own_modules(path: Path) -> Iterator[Path]:
    for name in imported(path):
        place = ROOT / name.replace(".", "/")
        for module in (place.with_suffix(".py"), place / "__init__.py"):
            if name.startswith("course_utils") and module.exists():
                yield module


def test_an_import_that_nothing_declares_is_found(tmp_path):
    (tmp_path / "a.py").write_text(
        "import os, torch.nn, sklearn\ndef f():\n    from yaml import load\n    import no_such\n"
    )
    assert undeclared(tmp_path / "a.py", ("torch",)) == {"sklearn", "yaml", "no_such"}
    assert undeclared(tmp_path / "a.py", ("course", "test")) == {"no_such"}


def test_each_import_name_leads_to_what_declares_it():
    """`dateutil` is declared as python-dateutil: the names are looked up, not guessed."""
    for package, distribution in {"yaml": "PyYAML", "sklearn": "scikit-learn"}.items():
        assert distribution in DISTRIBUTIONS[package]
    assert re.search(r"python-dateutil", (ROOT / "pyproject.toml").read_text())
