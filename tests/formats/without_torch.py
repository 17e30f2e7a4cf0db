"""Runs the tests of `course_utils.formats` that do not need torch.

For Pythons on which torch cannot be had: ``python without_torch.py``, with pytest and hypothesis.
"""

import ast
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
STARTS_A_PROCESS = "test_a_checkpoint_is_read_and_verified_without_any_package"  # a browser cannot


def needs_torch(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import)]
    return any(alias.name == "torch" for node in imports for alias in node.names)


def main():
    chosen = []
    for path in sorted(HERE.glob("test_*.py")):
        if needs_torch(path):
            print(f"{path.name} needs torch: left out")
        else:
            chosen.append(str(path))
    options = ["-q", "-p", "no:cacheprovider", f"--rootdir={HERE}", "-c", "/dev/null"]
    shared = ["--import-mode=importlib", "-o", f"pythonpath={HERE.parent / 'safety'}"]
    return pytest.main([*options, *shared, "-k", f"not {STARTS_A_PROCESS}", *chosen])


if __name__ == "__main__":
    sys.exit(main())
