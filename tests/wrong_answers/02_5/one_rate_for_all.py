"""Gives every group the learning rate of the first."""

MESSAGE = "Both groups have the same learning rate now"


def resume_scaled(optimizer, scheduler, checkpoint, factor):
    optimizer.load_state_dict(checkpoint["optimizer"])
    scheduler.load_state_dict(checkpoint["scheduler"])
    rate = optimizer.param_groups[0]["lr"] * factor
    for group in optimizer.param_groups:
        group["lr"] = rate
    scheduler.base_lrs = [base * factor for base in scheduler.base_lrs]
