"""Saves the place and does not take it out again."""

from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict

MESSAGE = "place in the data"
CREDIT = 0.5


class Run:
    def __init__(self, model, optimizer, position=0):
        self.model, self.optimizer, self.position = model, optimizer, position

    def state_dict(self):
        model, optimizer = get_state_dict(self.model, self.optimizer)
        return {"model": model, "optimizer": optimizer, "position": self.position}

    def load_state_dict(self, state):
        set_state_dict(self.model, self.optimizer, model_state_dict=state["model"],
                       optim_state_dict=state["optimizer"])  # fmt: skip
