"""Lesson 02: stop a run anywhere and continue it bit for bit."""

from course_utils.extras import require

require("torch", "torch")

from course_utils.resume.compare import differences
from course_utils.resume.rng import RngState, seed_everything
from course_utils.resume.sampler import ResumableSampler
from course_utils.resume.stateful import Stateful
from course_utils.resume.train_state import TrainState

__all__ = [
    "ResumableSampler",
    "RngState",
    "Stateful",
    "TrainState",
    "differences",
    "seed_everything",
]
