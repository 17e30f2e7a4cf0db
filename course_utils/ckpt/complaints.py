"""What the doctor has to say."""

from typing import NamedTuple

from course_utils.formats.verify import Severity


class Complaint(NamedTuple):
    """One finding.

    Attributes:
        severity: errors and warnings are problems; notes may well be meant.
        topic: one word or two, for scripts: "damage", "prefix", "slice", …
        what: what was found, with names.
        remedy: what to do.
    """

    severity: Severity
    topic: str
    what: str
    remedy: str

    def as_dict(self) -> dict[str, str]:
        """Return it as JSON takes it."""
        return {
            "severity": self.severity.value,
            "topic": self.topic,
            "what": self.what,
            "remedy": self.remedy,
        }


def warning(topic: str, what: str, remedy: str) -> Complaint:
    """Return a complaint about what will go wrong sooner or later."""
    return Complaint(Severity.WARNING, topic, what, remedy)


def note(topic: str, what: str, remedy: str) -> Complaint:
    """Return a complaint about what may well be meant."""
    return Complaint(Severity.NOTE, topic, what, remedy)
