"""Deletes what does not fit from the caller's dictionary."""

MESSAGE = "The checkpoint's dictionary has changed"
CREDIT = 0.5


def load_what_fits(model, checkpoint):
    state, left_out = model.state_dict(), []
    for name in list(checkpoint):
        if name not in state or checkpoint[name].shape != state[name].shape:
            left_out.append(name)
            del checkpoint[name]
    if not checkpoint:
        raise ValueError("nothing fits")
    model.load_state_dict(checkpoint, strict=False)
    return sorted(left_out)
