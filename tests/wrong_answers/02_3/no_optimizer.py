"""Takes a fresh optimizer."""

from course_utils.resume.rng import RngState

MESSAGE = "The optimizer is not as it was"


class RunState:
    def __init__(self, run):
        self.run = run

    def state_dict(self):
        return {
            "model": self.run.model.state_dict(),
            "scheduler": self.run.scheduler.state_dict(),
            "rng": RngState().state_dict(),
        }

    def load_state_dict(self, state):
        self.run.model.load_state_dict(state["model"])
        self.run.scheduler.load_state_dict(state["scheduler"])
        RngState().load_state_dict(state["rng"])
