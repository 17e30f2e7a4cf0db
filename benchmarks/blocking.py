"""How long an asynchronous save blocks the loop, against a plain copy of the state."""

import torch

from benchmarks.states import STATES
from benchmarks.timing import folder, interleaved, ratios, verdict
from course_utils.checkpoint import AsyncCheckpointer, CheckpointManager


def main() -> None:
    state = STATES["300 MB"]()
    ready = {name: torch.zeros_like(tensor) for name, tensor in state.items()}

    def copy() -> None:
        for name, tensor in state.items():
            ready[name].copy_(tensor)

    with folder() as path, AsyncCheckpointer(CheckpointManager(path, keep_last=1)) as checkpointer:
        times = interleaved(
            {"copy": copy, "asynchronous save": lambda: checkpointer.save(state, step=1)},
            between=checkpointer.wait,
            rounds=11,
        )
    ratios("Block the loop, 300 MB", times, "copy")
    verdict("against a copy", times["asynchronous save"] / times["copy"], 1.2)


if __name__ == "__main__":
    main()
