"""Sets the learning rate first, and loading overwrites it."""

MESSAGE = "The first step still has the checkpoint's learning rates"


def resume_scaled(optimizer, scheduler, checkpoint, factor):
    for group in optimizer.param_groups:
        group["lr"] *= factor
    optimizer.load_state_dict(checkpoint["optimizer"])
    scheduler.load_state_dict(checkpoint["scheduler"])
