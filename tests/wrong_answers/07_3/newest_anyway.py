"""Keeps the newest also where only the best were asked for."""

MESSAGE = "Too many are kept"


def to_remove(checkpoints, keep_last, keep_best):
    steps = sorted((step for step, _ in checkpoints), reverse=True)
    measured = sorted(((a, step) for step, a in checkpoints if a is not None), reverse=True)
    best = [step for _, step in measured[:keep_best]]
    return sorted(set(steps) - set(steps[: max(keep_last, 1)]) - set(best))
