"""Saves NumPy's state as NumPy gives it, which weights_only refuses."""

import numpy as np

MESSAGE = "It raised an error. UnpicklingError"


class RunState:
    def __init__(self, run):
        self.run = run

    def state_dict(self):
        return {
            "model": self.run.model.state_dict(),
            "optimizer": self.run.optimizer.state_dict(),
            "scheduler": self.run.scheduler.state_dict(),
            "numpy": np.random.get_state(),  # noqa: NPY002
        }

    def load_state_dict(self, state):
        self.run.model.load_state_dict(state["model"])
        self.run.optimizer.load_state_dict(state["optimizer"])
        self.run.scheduler.load_state_dict(state["scheduler"])
        np.random.set_state(state["numpy"])  # noqa: NPY002
