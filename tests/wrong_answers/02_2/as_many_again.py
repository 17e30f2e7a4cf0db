"""Trains as many epochs as the run has, on top of those that are done."""

MESSAGE = "is beyond the run"


def remaining_epochs(checkpoint, total):
    start = checkpoint["completed"] if "completed" in checkpoint else checkpoint["epoch"] + 1
    return list(range(start, start + total))
