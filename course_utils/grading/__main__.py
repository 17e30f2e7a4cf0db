"""``python -m course_utils.grading``: release, grade, and open formgrader, for instructors."""

import argparse
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from course_utils.grading.classroom.table import Row, show
from course_utils.grading.classroom.unchanged import Look
from course_utils.grading.limits import Limits

if TYPE_CHECKING:
    from course_utils.grading.classroom.course import Course

# What takes seconds to import is imported where it is needed: often nothing is to be done.


def main() -> int:
    """Run one of the commands; return the exit status."""
    options = _parser().parse_args()
    if options.run is _grade and (rows := _unchanged(options)) is not None:
        print("Nothing has changed since the run before.")
        return _shown(rows, {}, _made(options.course))
    from course_utils.grading.classroom.course import Course, NbgraderError

    try:
        return int(options.run(Course.open(options.course), options))
    except (NbgraderError, FileNotFoundError) as error:
        print(error, file=sys.stderr)
        return 1


def _unchanged(options: argparse.Namespace) -> list[Row] | None:
    """Return the rows of the run before, where this one would do nothing."""
    if options.again or not options.submissions.exists():
        return None
    limits, only = _limits(options), tuple(options.only)
    return Look(options.course, options.submissions, limits, only).rows()


def _limits(options: argparse.Namespace) -> Limits:
    return Limits(seconds=options.seconds, memory=options.memory * 2**20)


def _capstone(course: "Course", options: argparse.Namespace) -> int:
    from course_utils.grading.classroom.capstone import grade_capstone

    rows, problems = grade_capstone(
        course,
        options.submissions,
        limits=_limits(options),
        workers=options.workers,
        again=options.again,
    )
    files = f"{course.root / 'capstone.csv'}; what to tell students: {course.root / 'capstone'}"
    return _shown(rows, problems, files)


def _made(course: Path) -> str:
    root = course.resolve()
    return f"{root / 'grades.csv'}; pages for students: {root / 'feedback'}"


def _shown(rows: list[Row], problems: dict[str, str], files: str) -> int:
    show(rows, problems)
    print(files)
    return 1 if problems else 0


def _release(course: "Course", options: argparse.Namespace) -> int:
    from course_utils.grading.classroom.release import release, write_handout
    from course_utils.grading.sheets import lessons

    slugs = [s for s in lessons() if not options.lessons or s[:2] in options.lessons]
    release(course, slugs)
    handout = write_handout(course)
    print(f"Released {', '.join(slugs)}: {course.root / 'release'}")
    print(f"The course as students of a graded class get it: {handout}")
    return 0


def _grade(course: "Course", options: argparse.Namespace) -> int:
    from course_utils.grading.classroom.run import grade_class

    rows, failures = grade_class(
        course,
        options.submissions,
        limits=_limits(options),
        workers=options.workers,
        scheduler=options.scheduler,
        again=options.again,
        only=tuple(options.only),
    )
    problems = {" ".join(filter(None, key)): why for key, why in failures.items()}
    return _shown(rows, problems, _made(course.root))


def _roster(course: "Course", options: argparse.Namespace) -> int:
    from course_utils.grading.classroom.lms import import_roster

    students = import_roster(course, options.file, anonymous=options.anonymous)
    print(f"{len(students)} students are in the gradebook: {', '.join(students[:5])} …")
    return 0


def _export(course: "Course", options: argparse.Namespace) -> int:
    from course_utils.grading.classroom.lms import export_grades

    print(export_grades(course, options.platform))
    return 0


def _statistics(course: "Course", options: argparse.Namespace) -> int:
    from course_utils.grading.classroom.statistics import write_statistics

    print(write_statistics(course))
    return 0


def _formgrader(course: "Course", options: argparse.Namespace) -> int:
    # nbgrader's server extensions are enabled by its installation.
    command = [sys.executable, "-m", "jupyterlab", "--notebook-dir=.", *options.jupyter]
    command.append("--LabApp.default_url=/formgrader")
    return subprocess.run(command, cwd=course.root, check=False).returncode


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m course_utils.grading", description=__doc__)
    parser.add_argument("--course", type=Path, default=Path("class"), help="the course folder")
    commands = parser.add_subparsers(required=True)

    part = commands.add_parser("release", help="build what students get")
    part.add_argument("lessons", nargs="*", help="numbers, such as 01 03; all by default")
    part.set_defaults(run=_release)

    part = commands.add_parser("grade", help="grade a folder of submissions")
    part.add_argument(
        "submissions",
        type=Path,
        help="a folder or a zip archive: <student>/…, or as Canvas, Moodle and nbgrader give it",
    )
    part.add_argument("--workers", type=int, help="processes; one a core by default")
    part.add_argument("--scheduler", default="", help="of a Dask cluster, tcp://host:8786")
    part.add_argument("--again", action="store_true", help="run also what is graded already")
    part.add_argument("--only", nargs="+", default=[], help="students' ids and lessons' numbers")
    part.add_argument("--seconds", type=float, default=Limits.seconds, help="for each cell")
    part.add_argument("--memory", type=int, default=Limits.memory // 2**20, help="megabytes")
    part.set_defaults(run=_grade)

    part = commands.add_parser("capstone", help="grade a folder of scripts of the capstone")
    part.add_argument("submissions", type=Path, help="as for grade: <student>/train.py, …")
    part.add_argument("--workers", type=int, help="students at once; one a core by default")
    part.add_argument("--again", action="store_true", help="try also what was tried already")
    part.add_argument("--seconds", type=float, default=120.0, help="for each start of a script")
    part.add_argument("--memory", type=int, default=Limits.memory // 2**20, help="megabytes")
    part.set_defaults(run=_capstone)

    part = commands.add_parser(
        "roster", help="put a platform's list of students into the gradebook"
    )
    part.add_argument("file", type=Path, help="CSV, as Canvas or Moodle export it")
    part.add_argument(
        "--anonymous",
        action="store_true",
        help="give them pseudonyms; names.csv says whose they are, and export knows it",
    )
    part.set_defaults(run=_roster)

    part = commands.add_parser("export", help="write grades for a learning platform")
    part.add_argument("platform", choices=["canvas", "moodle"])
    part.set_defaults(run=_export)

    part = commands.add_parser("statistics", help="write a page on how the class did")
    part.set_defaults(run=_statistics)

    part = commands.add_parser("formgrader", help="open nbgrader's formgrader")
    part.add_argument("jupyter", nargs="*", help="options for JupyterLab, after --")
    part.set_defaults(run=_formgrader)
    return parser


if __name__ == "__main__":
    sys.exit(main())
