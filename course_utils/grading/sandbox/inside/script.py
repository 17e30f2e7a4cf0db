"""Starts a student's script behind a second wall and within limits.

Only this folder of the grader is there: what it imports lies beside it. The script runs in an
empty folder, which ends with it.
"""

import os
import shutil
import sys

from . import namespaces


def main(tmp: str, memory: str, file: str, script: str, run: str) -> None:
    """Become the script.

    Args:
        tmp: bytes of its own /tmp; "0" where there are no walls.
        memory: bytes of address space.
        file: bytes in any one file.
        script: the program.
        run: the folder it is given.
    """
    if int(tmp):
        namespaces.enter(int(tmp))
    copy = shutil.copy(script, os.path.join(os.getcwd(), "train.py"))
    namespaces.limit(memory=int(memory), file=int(file))
    os.execv(sys.executable, [sys.executable, copy, run])
