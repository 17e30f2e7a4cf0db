"""Runs the tests of `course_utils.formats` that need neither torch nor NumPy.

For Pythons on which these cannot be had: ``python without_torch.py``, with pytest and hypothesis.
"""

import ast
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
STARTS_A_PROCESS = "test_a_checkpoint_is_read_and_verified_without_any_package"  # a browser cannot


def needs(path):
    """Return which of the two a file of tests imports."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import)]
    return {alias.name for node in imports for alias in node.names} & {"torch", "numpy"}


def main():
    chosen = []
    for path in sorted(HERE.glob("test_*.py")):
        if needed := needs(path):
            print(f"{path.name} needs {' and '.join(sorted(needed))}: left out")
        else:
            chosen.append(str(path))
    options = ["-q", "-p", "no:cacheprovider", f"--rootdir={HERE}", "-c", "/dev/null"]
    shared = ["--import-mode=importlib", "-o", f"pythonpath={HERE.parent / 'safety'}"]
    return pytest.main([*options, *shared, "-k", f"not {STARTS_A_PROCESS}", *chosen])


if __name__ == "__main__":
    sys.exit(main())
