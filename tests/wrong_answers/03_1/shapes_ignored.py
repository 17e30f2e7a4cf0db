"""Filters by name alone, and the other shape still raises."""

MESSAGE = "It raised an error. RuntimeError"


def load_what_fits(model, checkpoint):
    state = model.state_dict()
    fits = {name: tensor for name, tensor in checkpoint.items() if name in state}
    if not fits:
        raise ValueError("nothing fits")
    state.update(fits)
    model.load_state_dict(state)
    return sorted(set(checkpoint) - set(fits))
