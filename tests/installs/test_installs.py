"""The two installs: the library with a handful of light packages, and the course for learners."""

import json
import os
import shutil
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

import pytest
from declared import PROJECT, ROOT, normal, requirements
from packaging.requirements import Requirement

from course_utils.lessons import learn

# The extra that each wing tells who lacks it.
NEED_AN_EXTRA = {
    "checkpoint": "torch",
    "resume": "torch",
    "partial": "torch",
    "devices": "torch",
    "portable": "torch",
    "distributed": "torch",
    "lessons": "course",
    "grading": "course",
    "authoring": "test",
}
LEARNERS_LAB = ROOT / "course_utils/lessons/jupyter"
EXTENSIONS = """
import json
from jupyter_server.serverapp import ServerApp

app = ServerApp()
app.initialize(["--no-browser", "--port=0", "--allow-root"], new_httpserver=False)
print(json.dumps({name: e.enabled for name, e in app.extension_manager.extensions.items()}))
"""


def light_packages() -> set[str]:
    """Return what ``pip install .`` brings: what the library needs, and what that needs."""
    found, new = set(), {normal(requirement.name) for requirement in requirements()}
    while new:
        found |= new
        lines = [line for name in new for line in distribution(name).requires or []]
        needed = [one for one in map(Requirement, lines) if not one.marker or one.marker.evaluate()]
        new = {normal(one.name) for one in needed} - found
    return found


@pytest.fixture(scope="module")
def light(tmp_path_factory):
    """What an empty environment holds after ``pip install .``: a function that runs Python there.

    The package is really built and installed; the others are linked from this environment.
    """
    folder = tmp_path_factory.mktemp("light")
    source, target = folder / "source", folder / "site-packages"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "course_utils", source / "course_utils")
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--disable-pip-version-check"]
    install = [sys.executable, "-m", "pip", "install", *options, f"--target={target}", str(source)]
    subprocess.run(install, check=True)
    for name in light_packages():
        for top in {
            file.parts[0] for file in distribution(name).files or [] if ".." not in file.parts
        }:
            if top != "__pycache__":
                (target / top).symlink_to(distribution(name).locate_file(top))

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(target)}
        command = [sys.executable, "-S", "-P", *arguments]  # -S: none of this environment's own
        return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True)

    return run


def test_the_library_is_a_handful_of_light_packages():
    assert light_packages() == {
        *("numpy", "rich", "tqdm", "zlib-ng"),
        *("markdown-it-py", "mdurl", "pygments"),  # rich's
    }


def test_the_installed_package_is_all_there(light):
    found = light(
        "-c", "import course_utils; print(course_utils.__version__, course_utils.__file__)"
    )
    version, file = found.stdout.split()
    assert version == PROJECT["version"]
    built = {path.relative_to(Path(file).parent) for path in Path(file).parent.rglob("*.*")}
    own = {path.relative_to(ROOT / "course_utils") for path in (ROOT / "course_utils").rglob("*.*")}
    assert own - built - {path for path in own if path.suffix == ".pyc"} == set()


def test_a_copy_that_was_never_installed_knows_no_version(light, tmp_path):
    (tmp_path / "course_utils").symlink_to(ROOT / "course_utils")
    code = f"import sys; sys.path[0] = {str(tmp_path)!r}; import course_utils as c"
    assert light("-c", f"{code}; print(c.__version__)").stdout == "unknown\n"


@pytest.mark.parametrize("wing", NEED_AN_EXTRA)
def test_a_wing_says_what_to_install(light, wing):
    found = light("-c", f"from course_utils.{wing} import *")
    assert found.returncode == 1
    last = found.stderr.splitlines()[-1]
    assert last.startswith("ImportError: ")
    assert "is not installed" in last
    assert last.endswith(f"pip install 'course-utils[{NEED_AN_EXTRA[wing]}]'")


@pytest.mark.parametrize(
    "statement", ["from course_utils import save_checkpoint", "import course_utils.saving"]
)
def test_so_do_the_names_that_lead_to_one(light, statement):
    found = light("-c", statement)
    assert "pip install 'course-utils[torch]'" in found.stderr.splitlines()[-1]


def test_a_package_that_may_not_be_imported_counts_as_missing():
    """As where a test or a policy forbids it: the finder raises."""
    code = """
import sys
class Forbids:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            raise ImportError("forbidden")
sys.meta_path.insert(0, Forbids())
import course_utils.partial
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "pip install 'course-utils[torch]'" in found.stderr.splitlines()[-1]


def lab(settings: str) -> dict[str, bool]:
    """Return the extensions of a JupyterLab's server with these settings, and which are on."""
    environment = {**os.environ, "JUPYTER_CONFIG_PATH": settings}
    command = [sys.executable, "-c", EXTENSIONS]
    found = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return json.loads(found.stdout.splitlines()[-1])


def test_a_learners_lab_leaves_the_instructors_server_extensions_out():
    as_installed, for_learners = lab(""), lab(str(LEARNERS_LAB))
    instructors = {name for name in as_installed if name.startswith("nbgrader")}
    assert len(instructors) == 4
    assert all(as_installed.values())
    assert {name for name, is_on in for_learners.items() if not is_on} == instructors


def test_a_learners_lab_leaves_the_instructors_menus_out():
    for settings, state in (("", "enabled"), (str(LEARNERS_LAB), "disabled")):
        environment = {**os.environ, "JUPYTER_CONFIG_PATH": settings}
        command = [sys.executable, "-m", "jupyter", "labextension", "list"]
        found = subprocess.run(command, env=environment, capture_output=True, text=True)
        (line,) = (line for line in found.stderr.splitlines() if "nbgrader v" in line)
        assert state in line


def test_make_learn_starts_that_lab():
    assert "$(RUN) -m course_utils learn\n" in (ROOT / "Makefile").read_text()
    assert learn.environment()["JUPYTER_CONFIG_PATH"].startswith(str(LEARNERS_LAB))
