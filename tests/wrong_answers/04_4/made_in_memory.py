"""Never uses meta: right, and needs the memory twice."""

import torch

MESSAGE = "was made with random weights in memory"
CREDIT = 0.5


def load_large(make_model, path):
    model = make_model()
    model.load_state_dict(torch.load(path, map_location="cpu", mmap=True), assign=True)
    model.tie_weights()
    return model
