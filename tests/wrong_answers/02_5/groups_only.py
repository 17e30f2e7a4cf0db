"""Changes the optimizer's groups, and LambdaLR overwrites them at its next step."""

MESSAGE = "then the scheduler wrote its own learning rates again"


def resume_scaled(optimizer, scheduler, checkpoint, factor):
    optimizer.load_state_dict(checkpoint["optimizer"])
    scheduler.load_state_dict(checkpoint["scheduler"])
    for group in optimizer.param_groups:
        group["lr"] *= factor
