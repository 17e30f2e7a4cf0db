"""Looks for the best among the newest only."""

MESSAGE = "Step 1 is one to keep"


def to_remove(checkpoints, keep_last, keep_best):
    steps = sorted(step for step, _ in checkpoints)
    return steps[: -max(keep_last, 1)] if steps else []
