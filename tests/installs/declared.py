"""What ``pyproject.toml`` declares, for tests."""

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
FOR_LEARN = ("course", "export")
FOR_TEST = ("course", "export", "test", "instructor", "frameworks")


def normal(name: str) -> str:
    """Return a distribution's name as registries compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def requirements(*extras: str) -> list[Requirement]:
    """Return what the library needs, and what these extras add, extras of extras included."""
    found = [Requirement(line) for line in PROJECT["dependencies"]]
    for extra in extras:
        for requirement in map(Requirement, EXTRAS[extra]):
            own = requirement.name == PROJECT["name"]
            found += requirements(*sorted(requirement.extras)) if own else [requirement]
    return found


def distributions(*extras: str) -> set[str]:
    """Return the names of what the library and these extras need."""
    return {normal(requirement.name) for requirement in requirements(*extras)}
