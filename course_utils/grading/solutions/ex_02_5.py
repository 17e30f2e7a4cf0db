"""Reference answer of exercise 02.5."""

from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler


def resume_scaled(
    optimizer: Optimizer, scheduler: LRScheduler, checkpoint: dict[str, Any], factor: float
) -> None:
    """Continue from the checkpoint with `factor` times its learning rates."""
    optimizer.load_state_dict(checkpoint["optimizer"])
    scheduler.load_state_dict(checkpoint["scheduler"])
    for group in optimizer.param_groups:
        group["lr"] *= factor
    scheduler.base_lrs = [rate * factor for rate in scheduler.base_lrs]
    if hasattr(scheduler, "eta_min"):
        scheduler.eta_min *= factor
