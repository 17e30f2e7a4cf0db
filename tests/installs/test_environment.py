"""The environment files agree with pyproject.toml, and an install that would fail says why."""

import re

import pytest
import yaml
from declared import EXTRAS, FOR_LEARN, FOR_TEST, PROJECT, ROOT, normal, requirements

from course_utils.authoring.preflight import (
    DOWNLOADS,
    GIGABYTES,
    NEWEST,
    OLDEST,
    problems,
    size_of,
)

CONSTRAINTS = dict(
    line.split("==")
    for line in (ROOT / "constraints.txt").read_text().splitlines()
    if not line.startswith("#")
)
ENOUGH = 10**11


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_conda_installs_what_the_tests_need():
    environment = yaml.safe_load(text("environment.yml"))
    python, pip, options = environment["dependencies"]
    assert python == f"python>=3.{OLDEST[1]},<3.{NEWEST[1] + 1}"
    assert pip == "pip"
    extras = ",".join(FOR_TEST)
    assert options == {"pip": ["--constraint constraints.txt", f"--editable .[{extras}]"]}


@pytest.mark.parametrize(("line", "extras"), [("LEARN", FOR_LEARN), ("TEST", FOR_TEST)])
def test_make_installs_the_extras_that_the_tests_go_by(line, extras):
    assert f"FOR_{line} := {','.join(extras)}\n" in text("Makefile")


def test_readme_says_how_to_get_the_same_without_make():
    commands = re.findall(r'^pip install .*"\.\[(.+)\]"$', text("README.md"), re.MULTILINE)
    assert commands == [",".join(FOR_LEARN)]


def test_contributing_says_who_gets_what():
    """One row an install, one column an extra: the table is compared with the files."""
    rows = [line.split("|")[1:-1] for line in text("CONTRIBUTING.md").splitlines() if "|" in line]
    table = {row[0].strip(): [cell.strip() for cell in row[1:]] for row in rows}
    extras = table["install"]
    assert extras == [f"`{extra}`" for extra in EXTRAS]
    got = {
        name: {extra.strip("`") for extra, cell in zip(extras, row, strict=True) if cell}
        for name, row in table.items()
        if name != "install" and set(name) != {"-"}
    }
    assert got == {
        "`pip install .`": set(),
        "`make learn`": with_own(FOR_LEARN),
        "`make test`, conda": with_own(FOR_TEST),
        "`make constraints`": with_own((*FOR_TEST, "site")),
    }


def with_own(extras: tuple[str, ...]) -> set[str]:
    """Return the extras and the extras that they bring."""
    lines = " ".join(line for extra in extras for line in EXTRAS[extra])
    brought = re.findall(rf"{PROJECT['name']}\[(\w+)\]", lines)
    return {*extras, *(with_own(tuple(brought)) if brought else ())}


@pytest.mark.parametrize("requirement", requirements(*EXTRAS), ids=str)
def test_every_requirement_has_a_tested_version_that_satisfies_it(requirement):
    tested = {normal(name): version for name, version in CONSTRAINTS.items()}
    assert requirement.specifier.contains(tested[normal(requirement.name)])


@pytest.mark.parametrize("version", ["2.6.0", "2.13.0", "2.14.1", "2.15.0"])
def test_torch_is_a_range(version):
    (torch,) = (r for r in requirements("torch") if r.name == "torch")
    assert torch.specifier.contains(version)
    assert not torch.specifier.contains("2.5.1")


def test_the_library_takes_the_pythons_of_the_course_and_one_more():
    assert PROJECT["requires-python"] == f">=3.{OLDEST[1]},<3.{NEWEST[1] + 2}"


def test_supported_pythons_with_room_have_no_problem():
    for minor in (11, 12, 13):
        assert problems((3, minor), ENOUGH, has_venv=True) == []


@pytest.mark.parametrize("version", [(3, 10), (3, 14), (3, 6)])
def test_an_unsupported_python_is_named_with_the_remedy(version):
    (problem,) = problems(version, ENOUGH, has_venv=True)
    assert "{}.{}".format(*version) in problem
    assert "PYTHON=python3.12" in problem


def test_a_full_disk_is_named_with_its_numbers():
    needed = (GIGABYTES + DOWNLOADS) * 10**9
    assert problems((3, 12), needed, has_venv=True) == []
    (problem,) = problems((3, 12), 3 * 10**9, has_venv=True)
    assert "3.0 GB" in problem
    assert f"{GIGABYTES} GB, and {DOWNLOADS} more" in problem
    assert f"{GIGABYTES} GB of disk space" in text("README.md")


def test_an_environment_that_is_there_already_counts_as_room(tmp_path):
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "a.so").write_bytes(bytes(1000))
    (tmp_path / "python").symlink_to("/gone")
    assert size_of(tmp_path) == 1000 + len("/gone")
    assert size_of(tmp_path / "none") == 0


def test_a_missing_venv_module_is_named():
    (problem,) = problems((3, 12), ENOUGH, has_venv=False)
    assert "python3-venv" in problem
