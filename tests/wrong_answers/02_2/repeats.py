"""Trains the saved epoch again."""

MESSAGE = "is finished and would be trained a second time"


def remaining_epochs(checkpoint, total):
    return list(range(checkpoint.get("completed", checkpoint.get("epoch")), total))
