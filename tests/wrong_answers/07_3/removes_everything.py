"""Takes keep_last=0 at its word."""

MESSAGE = "Everything would be removed"


def to_remove(checkpoints, keep_last, keep_best):
    steps = sorted((step for step, _ in checkpoints), reverse=True)
    measured = sorted(((a, s) for s, a in checkpoints if a is not None), reverse=True)
    keep = set(steps[:keep_last]) | {step for _, step in measured[:keep_best]}
    return sorted(set(steps) - keep)
