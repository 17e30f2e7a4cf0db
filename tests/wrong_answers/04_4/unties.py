"""Does not tie again."""

import torch

MESSAGE = "has a weight of its own now"
CREDIT = 0.5


def load_large(make_model, path):
    with torch.device("meta"):
        model = make_model()
    model.load_state_dict(torch.load(path, map_location="cpu"), assign=True)
    model.make_buffers()
    return model
