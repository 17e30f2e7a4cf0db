"""Save and load checkpoints: one ordinary ``.pt`` file, written durably, read verified.

What is written here, plain ``torch.load(path, weights_only=True)`` reads.
"""

from course_utils.extras import require

require("torch", "torch")

from course_utils.checkpoint.background import AsyncCheckpointer
from course_utils.checkpoint.load import load_checkpoint
from course_utils.checkpoint.manager import CheckpointManager
from course_utils.checkpoint.restore import restore_checkpoint
from course_utils.checkpoint.save import save_checkpoint

__all__ = [
    "AsyncCheckpointer",
    "CheckpointManager",
    "load_checkpoint",
    "restore_checkpoint",
    "save_checkpoint",
]
