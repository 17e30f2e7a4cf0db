"""Leaves the lowest learning rate of a cosine where it was."""

MESSAGE = "the scheduler wrote its own learning rates again"


def resume_scaled(optimizer, scheduler, checkpoint, factor):
    optimizer.load_state_dict(checkpoint["optimizer"])
    scheduler.load_state_dict(checkpoint["scheduler"])
    for group in optimizer.param_groups:
        group["lr"] *= factor
    scheduler.base_lrs = [rate * factor for rate in scheduler.base_lrs]
