"""Slices with minus zero, which takes all."""

MESSAGE = "Too many are kept"


def to_remove(checkpoints, keep_last, keep_best):
    steps = sorted(step for step, _ in checkpoints)
    measured = sorted((a, step) for step, a in checkpoints if a is not None)
    keep = set(steps[-keep_last:]) | {step for _, step in measured[-keep_best:]}
    return sorted(set(steps) - keep)
