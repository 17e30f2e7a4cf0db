"""Saves the parameters and loses BatchNorm's statistics."""

from course_utils.resume.rng import RngState

MESSAGE = "The model is not as it was: 1.running_mean differs"


class RunState:
    def __init__(self, run):
        self.run = run

    def state_dict(self):
        return {
            "model": dict(self.run.model.named_parameters()),
            "optimizer": self.run.optimizer.state_dict(),
            "scheduler": self.run.scheduler.state_dict(),
            "rng": RngState().state_dict(),
        }

    def load_state_dict(self, state):
        self.run.model.load_state_dict(state["model"], strict=False)
        self.run.optimizer.load_state_dict(state["optimizer"])
        self.run.scheduler.load_state_dict(state["scheduler"])
        RngState().load_state_dict(state["rng"])
