"""Loads the optimizer only, so the schedule begins anew."""

MESSAGE = "The scheduler is at another place of its schedule"


def resume_scaled(optimizer, scheduler, checkpoint, factor):
    optimizer.load_state_dict(checkpoint["optimizer"])
    for group in optimizer.param_groups:
        group["lr"] *= factor
    scheduler.base_lrs = [rate * factor for rate in scheduler.base_lrs]
