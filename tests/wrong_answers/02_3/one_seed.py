"""Seeds the generators anew instead of restoring them."""

from course_utils.resume.rng import seed_everything

MESSAGE = "All is restored but the generator of torch"
CREDIT = 0.5


class RunState:
    def __init__(self, run):
        self.run = run

    def state_dict(self):
        return {
            "model": self.run.model.state_dict(),
            "optimizer": self.run.optimizer.state_dict(),
            "scheduler": self.run.scheduler.state_dict(),
        }

    def load_state_dict(self, state):
        self.run.model.load_state_dict(state["model"])
        self.run.optimizer.load_state_dict(state["optimizer"])
        self.run.scheduler.load_state_dict(state["scheduler"])
        seed_everything(0)
