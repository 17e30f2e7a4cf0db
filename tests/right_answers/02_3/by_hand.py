"""Saves each generator in plain types, without the course's helper."""

import random

import numpy as np
import torch


class RunState:
    def __init__(self, run):
        self.run = run

    def state_dict(self):
        kind, keys, *rest = np.random.get_state()  # noqa: NPY002
        return {
            "parts": [p.state_dict() for p in self._parts()],
            "torch": torch.get_rng_state(),
            "numpy": [kind, keys.tolist(), *rest],
            "python": random.getstate(),
        }

    def load_state_dict(self, state):
        for part, saved in zip(self._parts(), state["parts"], strict=True):
            part.load_state_dict(saved)
        torch.set_rng_state(state["torch"])
        np.random.set_state(tuple(state["numpy"]))  # noqa: NPY002
        random.setstate(state["python"])

    def _parts(self):
        return self.run.model, self.run.optimizer, self.run.scheduler
