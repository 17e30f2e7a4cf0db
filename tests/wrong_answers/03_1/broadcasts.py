"""Lets `copy_` decide what fits, which stretches other shapes."""

MESSAGE = "does not come from this file"


def load_what_fits(model, checkpoint):
    own, left_out, loaded = model.state_dict(), [], 0
    for name, tensor in checkpoint.items():
        try:
            own[name].copy_(tensor)
            loaded += 1
        except (KeyError, RuntimeError):
            left_out.append(name)
    if not loaded:
        raise ValueError("nothing fits")
    return sorted(left_out)
