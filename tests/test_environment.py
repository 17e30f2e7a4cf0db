"""The environment files agree with pyproject.toml, and an install that would fail says why."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

from course_utils.authoring.preflight import problems

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CONSTRAINTS = dict(
    line.split("==")
    for line in (ROOT / "constraints.txt").read_text().splitlines()
    if not line.startswith("#")
)
ENOUGH = 10**11


def requirements():
    extras = PROJECT["optional-dependencies"].values()
    return [*PROJECT["dependencies"], *(name for extra in extras for name in extra)]


def test_conda_installs_this_very_project():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    python, pip, options = environment["dependencies"]
    assert python == "python" + PROJECT["requires-python"]
    assert pip == "pip"
    extras = ",".join(PROJECT["optional-dependencies"])
    assert options == {"pip": ["--constraint constraints.txt", f"--editable .[{extras}]"]}


def test_make_installs_the_same_as_conda():
    extras = ",".join(PROJECT["optional-dependencies"])
    assert f'-c constraints.txt -e ".[{extras}]"' in (ROOT / "Makefile").read_text()


@pytest.mark.parametrize("requirement", requirements())
def test_every_requirement_has_a_tested_version_that_satisfies_it(requirement):
    from packaging.requirements import Requirement

    needed = Requirement(requirement)
    normal = {re.sub(r"[-_.]+", "-", name).lower(): v for name, v in CONSTRAINTS.items()}
    assert needed.specifier.contains(normal[needed.name.lower()])


def test_supported_pythons_with_room_have_no_problem():
    for minor in (11, 12, 13):
        assert problems((3, minor), ENOUGH, has_venv=True) == []


@pytest.mark.parametrize("version", [(3, 10), (3, 14), (2, 7)])
def test_an_unsupported_python_is_named_with_the_remedy(version):
    (problem,) = problems(version, ENOUGH, has_venv=True)
    assert "{}.{}".format(*version) in problem
    assert "PYTHON=python3.12" in problem


def test_a_full_disk_is_named_with_its_numbers():
    (problem,) = problems((3, 12), 3 * 10**9, has_venv=True)
    assert "3.0 GB" in problem
    assert "8 GB" in problem


def test_a_missing_venv_module_is_named():
    (problem,) = problems((3, 12), ENOUGH, has_venv=False)
    assert "python3-venv" in problem
