"""Asks for model and optimizer one by one, in flat entries."""

from torch.distributed.checkpoint import state_dict as sd


class Run:
    def __init__(self, model, optimizer, position=0):
        self.model = model
        self.optimizer = optimizer
        self.position = position

    def state_dict(self):
        return {
            "place": {"images": self.position},
            "weights": sd.get_model_state_dict(self.model),
            "moments": sd.get_optimizer_state_dict(self.model, self.optimizer),
        }

    def load_state_dict(self, state):
        sd.set_model_state_dict(self.model, state["weights"])
        sd.set_optimizer_state_dict(self.model, self.optimizer, state["moments"])
        self.position = state["place"]["images"]
