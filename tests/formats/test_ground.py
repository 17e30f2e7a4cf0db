"""The ground floor stands on the standard library: it runs where there is nothing else."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import course_utils.formats

FOLDER = Path(course_utils.formats.__file__).parent
MODULES = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "__init__")
ALLOWED = {"course_utils", "zlib_ng"}  # zlib-ng where it is there
FORBIDDEN = {"threading", "concurrent", "multiprocessing", "fcntl", "tempfile", "shutil"}


def imported(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module


@pytest.mark.parametrize("module", MODULES)
def test_it_imports_the_standard_library_alone_and_opens_nothing(module):
    tree = ast.parse((FOLDER / f"{module}.py").read_text())
    for name in imported(tree):
        package = name.partition(".")[0]
        assert package in sys.stdlib_module_names or package in ALLOWED, name
        assert package not in FORBIDDEN, name
        if package == "course_utils":
            assert name.split(".")[1] in ("formats", "errors", "tables"), name
    calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    assert not [f for f in calls if isinstance(f, ast.Name) and f.id == "open"]


PROGRAM = """
import sys

class OnlyTheStandardLibrary:
    def find_spec(self, name, path=None, target=None):
        package = name.partition(".")[0]
        if package not in sys.stdlib_module_names and package != "course_utils":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, OnlyTheStandardLibrary())
from course_utils.formats.elements import blocks
from course_utils.formats.open import open_contents
from course_utils.formats.source import Memory
from course_utils.formats.verify import verify
contents = open_contents(Memory(sys.stdin.buffer.read()), "x.pt")
print({name: (t.shape, b"".join(blocks(contents, name))) for name, t in contents.tensors.items()})
print(verify(contents).verdict.value)
print(sorted({name.partition(".")[0] for name in sys.modules} & {"torch", "numpy", "zlib_ng"}))
"""


def test_a_checkpoint_is_read_and_verified_without_any_package():
    sample = Path(__file__).parents[1] / "data" / "build_0_1" / "plain.pt"
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], input=sample.read_bytes(), capture_output=True, timeout=60
    )
    assert done.returncode == 0, done.stderr.decode()
    tensors, verdict, packages = done.stdout.decode().splitlines()
    assert list(ast.literal_eval(tensors))
    assert (verdict, packages) == ("sound", "[]")
