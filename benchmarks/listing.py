"""Whether listing a file takes longer the larger its tensors are."""

from functools import partial

import torch

from benchmarks.timing import folder, interleaved, ratios, verdict
from course_utils.anatomy.archive import read_archive
from course_utils.checkpoint import save_checkpoint

TENSORS = 100


def main() -> None:
    with folder() as path:
        for name, numbers in (("3 MB", 7_500), ("2 GB", 5_000_000)):
            state = {f"layer.{n}.weight": torch.ones(numbers) for n in range(TENSORS)}
            save_checkpoint(path / name, state)
        times = interleaved(
            {name: partial(read_archive, path / name) for name in ("3 MB", "2 GB")},
            rounds=21,
        )
    ratios(f"List a file of {TENSORS} tensors", times, "3 MB")
    verdict("2 GB against 3 MB", times["2 GB"] / times["3 MB"], 1.5)


if __name__ == "__main__":
    main()
