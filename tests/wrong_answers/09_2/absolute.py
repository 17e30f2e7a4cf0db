"""Takes the root of the absolute value."""

MESSAGE = "The function is not right"


def safe_root(x):
    return (x.abs() + 1e-12).sqrt()
