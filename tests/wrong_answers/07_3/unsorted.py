"""Returns the newest first."""

MESSAGE = "not sorted"
CREDIT = 0.5


def to_remove(checkpoints, keep_last, keep_best):
    steps = sorted((step for step, _ in checkpoints), reverse=True)
    measured = sorted(((a, s) for s, a in checkpoints if a is not None), reverse=True)
    keep = set(steps[:keep_last]) | {step for _, step in measured[:keep_best]} or set(steps[:1])
    return sorted(set(steps) - keep, reverse=True)
