"""Gathers the whole state on each rank."""

from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_state_dict,
    set_state_dict,
)

MESSAGE = "A DTensor became a plain tensor"
CREDIT = 0.5
WHOLE = StateDictOptions(full_state_dict=True)


class Run:
    def __init__(self, model, optimizer, position=0):
        self.model, self.optimizer, self.position = model, optimizer, position

    def state_dict(self):
        model, optimizer = get_state_dict(self.model, self.optimizer, options=WHOLE)
        return {"model": model, "optimizer": optimizer, "position": self.position}

    def load_state_dict(self, state):
        set_state_dict(self.model, self.optimizer, model_state_dict=state["model"],
                       optim_state_dict=state["optimizer"], options=WHOLE)  # fmt: skip
        self.position = state["position"]
