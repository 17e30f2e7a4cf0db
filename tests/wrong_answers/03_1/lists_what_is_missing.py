"""Lists the model's names that the file lacks, not the file's names that were left out."""

MESSAGE = "The list of what was left out is not right"


def load_what_fits(model, checkpoint):
    state = model.state_dict()
    fits = {n: t for n, t in checkpoint.items() if n in state and t.shape == state[n].shape}
    if not fits:
        raise ValueError("nothing fits")
    return sorted(model.load_state_dict(fits, strict=False).missing_keys)
