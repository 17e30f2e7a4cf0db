"""Counts epochs from one, so the last lies beyond the run."""

MESSAGE = "is beyond the run: counted from 0"


def remaining_epochs(checkpoint, total):
    start = checkpoint["completed"] if "completed" in checkpoint else checkpoint["epoch"] + 1
    return list(range(start, total + 1))
