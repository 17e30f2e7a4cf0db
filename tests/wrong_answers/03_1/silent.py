"""Is content when nothing fits."""

MESSAGE = "Nothing of the file fits, and there was no ValueError"


def load_what_fits(model, checkpoint):
    state = model.state_dict()
    fits = {n: t for n, t in checkpoint.items() if n in state and t.shape == state[n].shape}
    model.load_state_dict(fits, strict=False)
    return sorted(set(checkpoint) - set(fits))
