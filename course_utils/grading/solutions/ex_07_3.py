"""Reference answer of exercise 07.3."""


def to_remove(
    checkpoints: list[tuple[int, float | None]], keep_last: int, keep_best: int
) -> list[int]:
    """Return the sorted steps of the checkpoints to remove."""
    steps = sorted((step for step, _ in checkpoints), reverse=True)
    measured = sorted(((a, step) for step, a in checkpoints if a is not None), reverse=True)
    best = [step for _, step in measured[:keep_best]]
    kept = {*steps[:keep_last], *best} or {*steps[:1]}  # never none
    return sorted(set(steps) - kept)
