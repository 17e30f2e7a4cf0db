"""Save over a checkpoint in a process of its own, for test_faults: FOLDER [--limit BYTES].

Prints the error, if there is one; the caller makes the disk fail.
"""

import resource
import signal
import sys
from pathlib import Path

import torch

from course_utils.checkpoint import save_checkpoint
from course_utils.errors import CheckpointWriteError
from course_utils.files import direct_io as blocks

blocks.BLOCK = 64 << 10  # several writes
if "--limit" in sys.argv:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]),) * 2)
try:
    save_checkpoint(Path(sys.argv[1]) / "model.pt", {"weight": torch.ones(100_000)})
except CheckpointWriteError as error:
    print(error)
