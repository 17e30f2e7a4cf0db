"""What judges share: the comparison that most of them are."""

from course_utils.grading.exercise import RIGHT, Case, Plain, Verdict, wrong
from course_utils.resume.compare import differences


def same_bits(case: Case, observed: Plain, expected: Plain) -> Verdict:
    """Judge that everything must equal what the reference did, to the last bit."""
    different = differences(expected, observed)
    if not different:
        return RIGHT
    places = ", ".join(place or "the result" for place in different[:5])
    more = f" and {len(different) - 5} more" if len(different) > 5 else ""
    return wrong(f"It differs at {places}{more}.")
