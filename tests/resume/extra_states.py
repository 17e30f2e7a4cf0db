"""A layer that saves what it likes, for the tests of runs in one process and in many."""

from torch import nn


class Keeps(nn.Linear):
    """A layer with a state of its own, which may be anything."""

    def __init__(self, extra=None):
        super().__init__(2, 2)
        self.extra = extra

    def get_extra_state(self):
        return self.extra

    def set_extra_state(self, state):
        self.extra = state
