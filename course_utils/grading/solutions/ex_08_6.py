"""Reference answer of exercise 08.6."""

from typing import Any

from torch import nn
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from torch.optim import Optimizer


class Run:
    """Model, optimizer and place in the data, for DCP."""

    def __init__(self, model: nn.Module, optimizer: Optimizer, position: int = 0) -> None:
        self.model, self.optimizer, self.position = model, optimizer, position

    def state_dict(self) -> dict[str, Any]:
        """Return what DCP saves, or fills."""
        model, optimizer = get_state_dict(self.model, self.optimizer)
        return {"model": model, "optimizer": optimizer, "position": self.position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what DCP has filled."""
        set_state_dict(
            self.model,
            self.optimizer,
            model_state_dict=state["model"],
            optim_state_dict=state["optimizer"],
        )
        self.position = state["position"]
