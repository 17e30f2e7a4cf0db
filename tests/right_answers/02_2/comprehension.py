"""Selects instead of counting."""


def remaining_epochs(checkpoint, total):
    following = checkpoint["epoch"] + 1 if "epoch" in checkpoint else checkpoint["completed"]
    return [epoch for epoch in range(total) if epoch >= following]
