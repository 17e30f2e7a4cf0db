"""``python -m course_utils learn``: make or refresh your copy of the course; open it."""

import argparse
import sys
from pathlib import Path

from course_utils.lessons import learn


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line says; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m course_utils", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="learn")
    command = commands.add_parser("learn", help="make or refresh your own copy, and open it")
    command.add_argument("folder", nargs="?", type=Path, default=learn.DEFAULT)
    command.add_argument("--no-open", action="store_true", help="do not start JupyterLab")
    options = parser.parse_args(arguments)
    try:
        report = learn.refresh(options.folder)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"Your copy of the course: {options.folder}\n{report}")
    return 0 if options.no_open else learn.lab(options.folder)


if __name__ == "__main__":
    sys.exit(main())
