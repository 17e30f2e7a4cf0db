"""Reference answer of exercise 03.1."""

from torch import Tensor, nn


def load_what_fits(model: nn.Module, checkpoint: dict[str, Tensor]) -> list[str]:
    """Load what fits by name and shape; return the sorted names that were left out."""
    state = model.state_dict()
    fits = {
        name: tensor
        for name, tensor in checkpoint.items()
        if name in state and tensor.shape == state[name].shape
    }
    if not fits:
        raise ValueError("nothing of the checkpoint fits the model")
    state.update(fits)
    model.load_state_dict(state)
    return sorted(checkpoint.keys() - fits.keys())
