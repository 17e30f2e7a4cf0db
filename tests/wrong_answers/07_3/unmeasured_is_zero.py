"""Takes a missing accuracy for zero."""

MESSAGE = "Too many are kept"


def to_remove(checkpoints, keep_last, keep_best):
    steps = sorted((step for step, _ in checkpoints), reverse=True)
    best = sorted(checkpoints, key=lambda pair: (pair[1] or 0, pair[0]), reverse=True)
    keep = set(steps[:keep_last]) | {step for step, _ in best[:keep_best]}
    return sorted(set(steps) - keep)
