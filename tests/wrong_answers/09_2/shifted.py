"""Clamps a little above zero, so that small numbers are wrong."""

MESSAGE = "is not right"


def safe_root(x):
    return x.clamp(min=1e-4).sqrt()
