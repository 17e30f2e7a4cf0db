"""What the table of grades says of each student, from the gradebook and from what was handed in."""

from course_utils.grading.classroom.course import Course
from course_utils.grading.classroom.gradebook import Graded, Key, maximum, read_gradebook
from course_utils.grading.classroom.grader import grade_id
from course_utils.grading.classroom.intake import Intake
from course_utils.grading.classroom.table import Row

NOTHING = "nothing was handed in"


def collect(course: Course, intake: Intake, failures: dict[Key, str]) -> list[Row]:
    """Return the rows of all students and lessons of the course.

    Who handed in nothing that can be graded gets a row too, with the reason.
    """
    notes = {(s.student, s.slug): " ".join(s.notes) for s in intake.taken}
    graded, most = read_gradebook(course), maximum(course)
    students = {student for student, _ in graded} | set(intake.reasons) | set(course.roster())
    rows = []
    for student in sorted(students):
        for slug in course.lessons():
            key = (student, slug)
            why = " ".join(intake.reasons.get(student, []))
            if key in failures:
                note = f"not graded: {failures[key]}"
            else:
                note = notes.get(key, "") if key in graded else why or NOTHING
            rows.append(_row(key, most.get(slug, 0.0), graded.get(key), note))
    return rows


def label(name: str) -> str:
    """Return an exercise's id for the name of its graded cell; other cells keep their name."""
    prefix = grade_id("")
    return name.removeprefix(prefix).replace("_", ".") if name.startswith(prefix) else name


def _row(key: Key, most: float, graded: Graded | None, note: str) -> Row:
    student, slug = key
    if graded is None:
        return Row(student, slug, 0.0, most, 0.0, "missing", "", note)
    points = " ".join(f"{label(p.name)}={p.score:g}/{p.max_score:g}" for p in graded.points)
    state = "needs manual grade" if graded.needs_manual_grade else "graded"
    return Row(student, slug, graded.score, most, graded.penalty, state, points, note)
