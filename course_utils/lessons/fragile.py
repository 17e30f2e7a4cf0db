"""The capstone's training script, as many are: it works, until something goes wrong.

    python train.py FOLDER

It trains a small network on the digits and prints a line for each step. Started again, it is to go
on where it was. At the end it writes ``final.safetensors`` and ``model.pt2``.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from course_utils.lessons.data import digits

EPOCHS, BATCH, SAVE_EVERY = 2, 100, 5
torch.set_num_threads(1)


class Net(nn.Module):
    """A layer with BatchNorm and dropout, and a head."""

    def __init__(self, hidden: int = 64) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(64, hidden), nn.BatchNorm1d(hidden))
        self.dropout = nn.Dropout(0.3)
        self.head = nn.Linear(hidden, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Map images ``(N, 1, 8, 8)`` to logits ``(N, 10)``."""
        return self.head(self.dropout(self.body(images).relu()))


def main(folder: Path) -> None:
    """Train to the end."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    images, labels = digits().tensors
    checkpoint = folder / "last.pt"

    model = Net()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=10, gamma=0.7)
    epoch, best = 0, np.float64("inf")

    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=False)
        model, epoch, best = saved["model"], saved["epoch"], saved["best"]

    step = epoch * (len(images) // BATCH + 1)
    while epoch < EPOCHS:
        model.train()
        for batch in torch.randperm(len(images)).split(BATCH):
            loss = cross_entropy(model(images[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
            step += 1
            best = min(best, np.float64(loss.item()))
            print("step", step, loss.item(), flush=True)
            if step % SAVE_EVERY == 0:
                torch.save({"model": model, "epoch": epoch, "best": best}, checkpoint)
        epoch += 1

    torch.save({"model": model, "epoch": epoch, "best": best}, checkpoint)
    save_file(model.state_dict(), folder / "final.safetensors")
    program = torch.export.export(model, (images[:4],))
    torch.export.save(program, folder / "model.pt2")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
