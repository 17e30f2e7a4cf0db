"""``python -m course_utils.authoring``: build the notebooks whose sources have changed."""

import argparse
import sys
from pathlib import Path

from course_utils.authoring.notebooks import all_sources, build, is_current
from course_utils.authoring.workers import work


def main() -> int:
    """Build the named sources, or else all that have changed; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m course_utils.authoring", description=__doc__)
    parser.add_argument("sources", nargs="*", type=Path, help="build these, changed or not")
    parser.add_argument("--all", action="store_true", help="build every notebook")
    options = parser.parse_args()

    sources = options.sources or all_sources()
    if not (options.sources or options.all):
        sources = [source for source in sources if not is_current(source)]
    if not sources:
        print("Every notebook is up to date.")
        return 0
    failed = [outcome for outcome in work(build, sources, "Building") if outcome.error]
    for outcome in failed:
        print(f"\n{outcome.name} failed.\n{outcome.error}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
