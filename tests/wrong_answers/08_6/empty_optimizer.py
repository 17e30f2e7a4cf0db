"""Hands over the state of an optimizer that has made no step: there is nothing to fill."""

MESSAGE = "did not get its state back"


class Run:
    def __init__(self, model, optimizer, position=0):
        self.model, self.optimizer, self.position = model, optimizer, position

    def state_dict(self):
        optimizer = self.optimizer.state_dict()
        return {"model": self.model.state_dict(), "optimizer": optimizer, "at": self.position}

    def load_state_dict(self, state):
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.position = state["at"]
