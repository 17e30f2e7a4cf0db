"""Reference answer of exercise 02.3."""

from typing import Any

from course_utils.resume import RngState


class RunState:
    """All that decides the next training step of a run."""

    def __init__(self, run: Any) -> None:
        self.run = run

    def state_dict(self) -> dict[str, Any]:
        """Return what the next step depends on, in types that ``weights_only=True`` takes."""
        return {
            "model": self.run.model.state_dict(),
            "optimizer": self.run.optimizer.state_dict(),
            "scheduler": self.run.scheduler.state_dict(),
            "rng": RngState().state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put everything back; the generators last, so that nothing draws after them."""
        self.run.model.load_state_dict(state["model"])
        self.run.optimizer.load_state_dict(state["optimizer"])
        self.run.scheduler.load_state_dict(state["scheduler"])
        RngState().load_state_dict(state["rng"])
