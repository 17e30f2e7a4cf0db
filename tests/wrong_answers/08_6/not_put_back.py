"""Takes for granted that what DCP fills is the model and the optimizer themselves."""

from torch.distributed.checkpoint.state_dict import get_state_dict

MESSAGE = "did not get its state back"


class Run:
    def __init__(self, model, optimizer, position=0):
        self.model, self.optimizer, self.position = model, optimizer, position

    def state_dict(self):
        model, optimizer = get_state_dict(self.model, self.optimizer)
        return {"model": model, "optimizer": optimizer, "position": self.position}

    def load_state_dict(self, state):
        self.position = state["position"]
