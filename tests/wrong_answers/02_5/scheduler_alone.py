"""Loads the scheduler and trusts it to set the optimizer up."""

MESSAGE = "its momentum, is not that of the checkpoint"


def resume_scaled(optimizer, scheduler, checkpoint, factor):
    scheduler.load_state_dict(checkpoint["scheduler"])
    for group, rate in zip(optimizer.param_groups, scheduler.get_last_lr(), strict=True):
        group["lr"] = rate * factor
    scheduler.base_lrs = [rate * factor for rate in scheduler.base_lrs]
