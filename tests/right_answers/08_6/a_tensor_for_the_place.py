"""Keeps the place as a tensor, which DCP fills as any other."""

import torch
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict


class Run:
    def __init__(self, model, optimizer, position=0):
        self.model, self.optimizer, self._position = model, optimizer, torch.tensor(position)

    @property
    def position(self):
        return self._position.item()

    def state_dict(self):
        model, optimizer = get_state_dict(self.model, [self.optimizer])
        return {"model": model, "optimizer": optimizer, "position": self._position}

    def load_state_dict(self, state):
        set_state_dict(self.model, [self.optimizer], model_state_dict=state["model"],
                       optim_state_dict=state["optimizer"])  # fmt: skip
        self._position = state["position"]
