"""Returns how many epochs are left."""

MESSAGE = "Return a list of epochs"


def remaining_epochs(checkpoint, total):
    if "completed" in checkpoint:
        return total - checkpoint["completed"]
    return total - checkpoint["epoch"] - 1
