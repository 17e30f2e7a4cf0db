"""Scales what stands in the states, and loads them then."""

import copy


def resume_scaled(optimizer, scheduler, checkpoint, factor):
    scaled = copy.deepcopy(checkpoint)
    for group in scaled["optimizer"]["param_groups"]:
        group["lr"] *= factor
        group["initial_lr"] *= factor
    base_lrs = scaled["scheduler"]["base_lrs"]
    scaled["scheduler"]["base_lrs"] = [rate * factor for rate in base_lrs]
    optimizer.load_state_dict(scaled["optimizer"])
    scheduler.load_state_dict(scaled["scheduler"])
    if hasattr(scheduler, "eta_min"):
        scheduler.eta_min *= factor
