"""Python 3.14, as a browser runs it: what it says of a file is what this Python says.

The interpreter is Pyodide, from npm. ``make test-wasm`` also runs the tests that need no torch.
"""

import pickle
import random
import shutil
import subprocess
import sys
from pathlib import Path

import hostile
import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
DATA = ROOT / "tests" / "data" / "build_0_1"
PYODIDE = ROOT / "site" / "node_modules" / "pyodide" / "pyodide.mjs"

needs_pyodide = pytest.mark.skipif(
    not (PYODIDE.exists() and shutil.which("node")),
    reason="needs Node.js and Pyodide: install Node.js, then `make wasm`",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Sound files of every kind, damaged ones, hostile ones, and pickles of random values."""
    folder = tmp_path_factory.mktemp("any")
    for path in DATA.iterdir():
        if path.is_file() and path.suffix in (".pt", ".safetensors", ".pt2"):
            shutil.copy(path, folder)
    for name in ("plain.pt", "model.safetensors"):
        data = (DATA / name).read_bytes()
        for place in range(0, len(data), 9):
            damaged = bytearray(data)
            damaged[place] ^= 0x41
            (folder / f"{place} {name}").write_bytes(damaged)
        (folder / f"cut {name}").write_bytes(data[:-5])
    for name, program in hostile.payloads(folder / "marker").items():
        evil = b"\x80\x02" + program + b"."
        (folder / f"zip {name}").write_bytes(hostile.zip_checkpoint(evil))
        (folder / f"legacy {name}").write_bytes(hostile.legacy_checkpoint(evil))
        (folder / f"tar {name}").write_bytes(hostile.tar_checkpoint(evil))
        (folder / f"bare {name}").write_bytes(evil)
    dice = random.Random(15)
    for number in range(100):
        data = hostile.zip_checkpoint(pickle.dumps(value(dice), protocol=dice.choice([2, 4, 5])))
        (folder / f"random {number}").write_bytes(data)
    return folder


def value(dice, depth=3):
    """Return any value: numbers, texts, and containers of such."""
    kind = dice.randrange(9 if depth else 6)
    if kind < 6:
        return dice.choice(
            [
                None,
                True,
                dice.getrandbits(100),
                -dice.random(),
                chr(dice.randrange(0xD000)),
                b"\xff",
            ]
        )
    inner = [value(dice, depth - 1) for _ in range(dice.randrange(4))]
    return [inner, tuple(inner), {str(item): item for item in inner}][kind - 6]


@needs_pyodide
def test_it_says_the_same_of_every_file(folder):
    here = subprocess.run(
        [sys.executable, HERE / "tell_all.py", folder], capture_output=True, text=True, timeout=300
    )
    command = ["node", HERE / "in_pyodide.mjs", f"/code={ROOT}", f"/files={folder}"]
    there = subprocess.run(
        [*command, "/code/tests/formats/tell_all.py", "/files"],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert (here.returncode, there.returncode) == (0, 0), here.stderr + there.stderr
    *expected, _ = here.stdout.splitlines()
    *found, version = there.stdout.splitlines()
    assert version.startswith("3.14.")
    assert len(found) == len(list(folder.iterdir())) > 300
    assert found == expected
    assert not (folder / "marker").exists()
