"""What comes out of a sandbox are claims; here they are unpacked, and nothing is believed."""

from dataclasses import dataclass, field, replace
from typing import Any

from course_utils.grading.exercise import Observation
from course_utils.grading.sandbox.plain import PlainDataError, unpack


@dataclass
class Run:
    """One run of the cells: how it ended, its last step, and what it sent, which are claims."""

    end: str
    step: str | None = None
    texts: dict[int, str] = field(default_factory=dict)
    took: dict[int, float] = field(default_factory=dict)
    states: dict[str, str] | None = None

    @classmethod
    def of(cls, reply: dict[str, Any]) -> "Run":
        """Read a server's reply."""
        run = cls(reply["end"])
        began = 0.0
        for time_, message in zip(reply["times"], unpacked(reply["sent"]), strict=True):
            if not isinstance(message, dict):
                continue
            if "begin" in message:
                run.step, began = str(message["begin"])[:100], time_
            elif "cell" in message and isinstance(message["cell"], int):
                run.texts[message["cell"]] = str(message["text"])
                run.took[message["cell"]] = time_ - began
            elif reply["end"] == "end":
                run.states = {str(k): str(v) for k, v in message.items()}
        number = (run.step or "").removeprefix("cell ")
        if run.end == "total" and number.isdigit():  # the one that runs when time is up
            run.took.setdefault(int(number), reply["seconds"] - began)
        return run


def unpacked(sent: list[bytes]) -> list[Any]:
    """Return messages unpacked; None for what cannot be unpacked."""
    found = []
    for data in sent:
        try:
            found.append(unpack(data))
        except PlainDataError:
            found.append(None)
    return found


def observation(reply: dict[str, Any]) -> Observation:
    """Return what an answer is said to have done, with what was seen from outside."""
    try:
        claim = unpack(reply["claim"])
        status: Any = claim["status"] if claim["status"] in ("ran", "not attempted") else "failed"
        seen = Observation(status, claim["data"], str(claim["error"])[:5000])
    except (PlainDataError, KeyError, TypeError):
        seen = Observation("failed", error="what it returned is not plain data")
    return replace(seen, calls=tuple(reply["calls"]), memory=reply["memory"],
                   left=dict(reply["left"]))  # fmt: skip


def as_read(before: Observation, message: Any) -> Observation:
    """Return an observation with what the reader made of it."""
    if message is None:
        return Observation("failed", error="What it made could not be read.")
    if message["status"] != "ran":
        said = f"What it made could not be read: {message['error']}"
        return Observation("failed", error=said)
    return replace(before, data=message["data"])
