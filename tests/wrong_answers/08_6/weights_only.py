"""Saves the weights and the place."""

from torch.distributed.checkpoint.state_dict import get_model_state_dict, set_model_state_dict

MESSAGE = "did not get its state back"


class Run:
    def __init__(self, model, optimizer, position=0):
        self.model, self.optimizer, self.position = model, optimizer, position

    def state_dict(self):
        return {"model": get_model_state_dict(self.model), "position": self.position}

    def load_state_dict(self, state):
        set_model_state_dict(self.model, state["model"])
        self.position = state["position"]
