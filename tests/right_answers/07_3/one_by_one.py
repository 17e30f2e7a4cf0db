"""Decides about one checkpoint at a time."""


def to_remove(checkpoints, keep_last, keep_best):
    measured = [(accuracy, step) for step, accuracy in checkpoints if accuracy is not None]
    keep_last = max(keep_last, not (measured and keep_best))
    removed = []
    for step, accuracy in checkpoints:
        newer = sum(other > step for other, _ in checkpoints)
        better = sum(other > (accuracy, step) for other in measured) if accuracy is not None else 0
        best = accuracy is not None and better < keep_best
        if newer >= keep_last and not best:
            removed.append(step)
    return sorted(removed)
