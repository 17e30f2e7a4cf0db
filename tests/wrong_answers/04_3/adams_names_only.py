"""Knows Adam's two moments and nothing else."""

MESSAGE = "max_exp_avg_sq of 0.weight has the wrong dtype"


def follow(optimizer):
    for parameter, entries in optimizer.state.items():
        for key in ("exp_avg", "exp_avg_sq"):
            if key in entries:
                entries[key] = entries[key].to(parameter)
