"""Say plainly why an install would fail, before it does: ``python3 preflight.py .venv``.

Runs on any Python 3, before anything is installed: standard library only,
and no syntax that an old version would stumble on.
"""

import importlib.util
import os
import shutil
import sys

OLDEST, NEWEST = (3, 11), (3, 13)
# torch's Linux wheels bring CUDA's libraries along, needed or not: measured, 6.5 to 7 GB when
# installed, and 3.2 GB of downloads beside them until pip has unpacked the last.
GIGABYTES, DOWNLOADS = 8, 3


def problems(version, free_bytes, has_venv):
    """Return what stands in the way of an install, one sentence each.

    Args:
        version: Python's ``(major, minor)``.
        free_bytes: free space on the disk that will hold the environment, what an earlier
            environment in the same place takes included.
        has_venv: whether Python can make virtual environments.
    """
    found = []
    if not OLDEST <= version <= NEWEST:
        found.append(
            "This is Python {}.{}; the course needs 3.11, 3.12 or 3.13. "
            "Name one: make learn PYTHON=python3.12".format(*version)
        )
    if not has_venv:
        found.append(
            "This Python cannot make virtual environments. "
            "On Debian or Ubuntu: sudo apt install python3-venv"
        )
    if free_bytes < (GIGABYTES + DOWNLOADS) * 10**9:
        found.append(
            "There is room for only {:.1f} GB here; the environment takes {} GB, and {} more while "
            "it is installed. Free some space, or clone the course to a larger disk.".format(
                free_bytes / 1e9, GIGABYTES, DOWNLOADS
            )
        )
    return found


def size_of(folder):
    """Return how many bytes the files of a folder take, 0 where there is none."""
    files = (os.path.join(where, name) for where, _, names in os.walk(folder) for name in names)
    return sum(os.lstat(path).st_size for path in files)


def main(environment):
    """Print the problems and return the exit status; a missing compiler is only a remark.

    Args:
        environment: the folder of the virtual environment, made or to be made.
    """
    found = problems(
        sys.version_info[:2],
        shutil.disk_usage(os.getcwd()).free + size_of(environment),
        importlib.util.find_spec("ensurepip") is not None,
    )
    for problem in found:
        sys.stderr.write("Cannot install: " + problem + "\n")
    if not any(shutil.which(name) for name in ("c++", "g++", "clang++")):
        sys.stderr.write(
            "No C++ compiler found: lessons 05 and 09 will skip their C++ steps. "
            "On Debian or Ubuntu: sudo apt install g++; on macOS: xcode-select --install\n"
        )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
