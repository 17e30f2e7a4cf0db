"""Changes the scheduler's starting values and waits for its next step."""

MESSAGE = "The first step still has the checkpoint's learning rates"


def resume_scaled(optimizer, scheduler, checkpoint, factor):
    optimizer.load_state_dict(checkpoint["optimizer"])
    scheduler.load_state_dict(checkpoint["scheduler"])
    scheduler.base_lrs = [rate * factor for rate in scheduler.base_lrs]
