"""Prefers the earlier of two that are equally accurate."""

MESSAGE = "Step 2 is one to keep"


def to_remove(checkpoints, keep_last, keep_best):
    steps = sorted((step for step, _ in checkpoints), reverse=True)
    measured = sorted(((-a, s) for s, a in checkpoints if a is not None))
    keep = set(steps[:keep_last]) | {step for _, step in measured[:keep_best]} or set(steps[:1])
    return sorted(set(steps) - keep)
