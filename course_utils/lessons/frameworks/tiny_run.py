"""The run that all frameworks train, and how it is stopped, resumed and compared.

Three epochs of six batches. It is saved after step 9, in the middle of the second epoch, and
killed inside step 11: a resumed process has nine steps to take.
"""

import json
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.nn.functional import cross_entropy
from torch.optim import Adam, Optimizer
from torch.optim.lr_scheduler import StepLR
from torch.utils._pytree import tree_map_only
from torch.utils.data import DataLoader, Dataset, Sampler

from course_utils.lessons.data import digits
from course_utils.resume.compare import differences
from course_utils.resume.rng import seed_everything

IMAGES, BATCH, EPOCHS = 48, 8, 3
PER_EPOCH = IMAGES // BATCH
SAVE_AT, KILL_AT = 9, 11
AS_IT_IS, REPAIRED = "as it is", "repaired"


class TinyModel(nn.Module):
    """A network with dropout: random numbers are a part of its run."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Dropout(0.5), nn.Linear(32, 10)
        )

    def forward(self, images: Tensor, labels: Tensor, indices: Tensor) -> dict[str, Tensor]:
        """Return loss and logits, as the Trainer of transformers wants them.

        Args:
            images: ``(N, 1, 8, 8)``.
            labels: ``(N,)``.
            indices: ``(N,)``, which images these are; only noted.
        """
        logits = self.layers(images)
        return {"loss": cross_entropy(logits, labels), "logits": logits}


class TinyData(Dataset[dict[str, Any]]):
    """The first 48 digits, each with its number."""

    def __init__(self) -> None:
        self.images, self.labels = digits()[:IMAGES]

    def __len__(self) -> int:
        return IMAGES

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"images": self.images[index], "labels": self.labels[index], "indices": index}


def new_model() -> TinyModel:
    """Return a new model; the same each time."""
    seed_everything(0)
    return TinyModel()


def new_optimizer(model: nn.Module) -> tuple[Adam, StepLR]:
    """Return a new optimizer, and a schedule that halves its rate every fourth step."""
    optimizer = Adam(model.parameters(), lr=1e-2)
    return optimizer, StepLR(optimizer, step_size=4, gamma=0.5)


def new_loader(
    sampler: Sampler[int] | None = None, generator: torch.Generator | None = None
) -> DataLoader[dict[str, Any]]:
    """Return a loader: shuffled as everybody does, or by a sampler, or with its own generator."""
    shuffle = True if sampler is None else None
    return DataLoader(TinyData(), BATCH, shuffle, sampler, generator=generator)


@dataclass(frozen=True)
class Attempt:
    """One process that trains.

    Attributes:
        folder: for its checkpoints, its log and its end.
        way: `AS_IT_IS`, `REPAIRED`, or another way that the framework's program knows.
        resume: whether it goes on from the checkpoint in ``folder``.
        kill: whether it is killed inside step `KILL_AT`.
    """

    folder: Path
    way: str = AS_IT_IS
    resume: bool = False
    kill: bool = False

    @property
    def log(self) -> Path:
        """Which images this process trained on, a line for each batch."""
        return self.folder / f"{'resumed' if self.resume else 'first'}.jsonl"

    def watch(self, model: nn.Module, optimizer: Optimizer) -> None:
        """Note each batch of a model in training; die inside a step if that is the plan."""
        done = 0

        def note(module: nn.Module, args: Any, batch: dict[str, Tensor], output: Any) -> None:
            with self.log.open("a") as log:
                log.write(json.dumps(batch["indices"].tolist()) + "\n")

        def count(*_: Any) -> None:
            nonlocal done
            done += 1
            if self.kill and done == KILL_AT:
                os.kill(os.getpid(), signal.SIGKILL)

        model.register_forward_hook(note, with_kwargs=True)
        optimizer.register_step_post_hook(count)

    def end(self, model: nn.Module, optimizer: Optimizer) -> None:
        """Keep what the run came to: weights, moments and counters."""
        moments = [list(optimizer.state[p].values()) for p in model.parameters()]
        state = [*(p.detach() for p in model.parameters()), *chain(*moments)]
        torch.save(tree_map_only(DTensor, DTensor.full_tensor, state), self.folder / "end.pt")


@dataclass(frozen=True)
class Result:
    """What a resumed run did, beside the run that was never stopped.

    Attributes:
        batches_alike: of the nine batches after the save, how many held the same images.
        times: how often each of the 48 images was trained on in the second epoch.
        differing: tensors of model and optimizer that differ in any bit at the end.
        tensors: how many tensors there are.
    """

    batches_alike: int
    times: list[int]
    differing: int
    tensors: int

    @property
    def repeated(self) -> int:
        """Images of the second epoch that were trained on more than once."""
        return sum(times > 1 for times in self.times)

    @property
    def never_seen(self) -> int:
        """Images of the second epoch that were not trained on."""
        return self.times.count(0)


Train = Callable[[Attempt], None]


def measure(train: Train, folder: Path, ways: Sequence[str]) -> dict[str, Result]:
    """Train straight, killed and resumed, in each of these ways.

    Each run has a process of its own, forked from this one, which has imported the framework
    and trained nothing.

    Returns:
        The results by way.
    """
    torch.set_num_threads(1)  # the bits of a sum depend on how it is split
    results = {}
    for way in ways:
        straight = Attempt(folder / way / "straight", way)
        killed = Attempt(folder / way / "stopped", way, kill=True)
        resumed = Attempt(killed.folder, way, resume=True)
        for attempt in (straight, killed, resumed):
            _in_its_own_process(train, attempt)
        results[way] = _compared(straight, killed, resumed)
    return results


def main(train: Train, *ways: str) -> None:
    """Measure in the folder that the command line names; write ``results.json`` there."""
    folder = Path(sys.argv[1])
    results = measure(train, folder, ways)
    text = json.dumps({way: asdict(result) for way, result in results.items()})
    (folder / "results.json").write_text(text)


def _compared(straight: Attempt, killed: Attempt, resumed: Attempt) -> Result:
    whole, before, after = (_batches(attempt.log) for attempt in (straight, killed, resumed))
    rest = after[: max(len(after) - PER_EPOCH, 0)]  # what came before the third epoch
    epoch = list(chain(*before[PER_EPOCH:SAVE_AT], *rest))
    ends = [torch.load(attempt.folder / "end.pt") for attempt in (straight, resumed)]
    return Result(
        batches_alike=sum(a == b for a, b in zip(whole[SAVE_AT:], after, strict=False)),
        times=[epoch.count(image) for image in range(IMAGES)],
        differing=len(differences(*ends)),
        tensors=len(ends[0]),
    )


def _batches(log: Path) -> list[list[int]]:
    return [json.loads(line) for line in log.read_text().splitlines()]


def _in_its_own_process(train: Train, attempt: Attempt) -> None:
    if not attempt.resume:
        shutil.rmtree(attempt.folder, ignore_errors=True)
        attempt.folder.mkdir(parents=True)
    sys.stdout.flush()
    pid = os.fork()
    if not pid:
        _train_and_leave(train, attempt)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status != (-signal.SIGKILL if attempt.kill else 0):
        raise RuntimeError(f"{attempt} ended with status {status}")


def _train_and_leave(train: Train, attempt: Attempt) -> None:
    status = 1
    try:
        train(attempt)
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)
