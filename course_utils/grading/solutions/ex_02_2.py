"""Reference answer of exercise 02.2."""


def remaining_epochs(checkpoint: dict[str, int], total: int) -> list[int]:
    """Return the list of epochs that are still to train."""
    if "completed" in checkpoint:
        return list(range(checkpoint["completed"], total))
    return list(range(checkpoint["epoch"] + 1, total))
