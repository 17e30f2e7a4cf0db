"""Takes a count of zero for a missing key."""

MESSAGE = "It raised an error. KeyError: 'epoch'"


def remaining_epochs(checkpoint, total):
    start = checkpoint.get("completed") or checkpoint["epoch"] + 1
    return list(range(start, total))
