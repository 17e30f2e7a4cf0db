"""Takes a count for the number of the last epoch, and leaves one out."""

MESSAGE = "would never be trained"


def remaining_epochs(checkpoint, total):
    done = checkpoint["completed"] if "completed" in checkpoint else checkpoint["epoch"]
    return list(range(done + 1, total))
