"""A right answer to the capstone that uses plain PyTorch alone, and another way to number steps."""

import os
import random
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn.functional import cross_entropy

from course_utils.lessons.data import digits

EPOCHS, BATCH, SAVE_EVERY = 2, 100, 5
torch.set_num_threads(1)


class Net(nn.Module):
    def __init__(self, hidden=64):
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(64, hidden), nn.BatchNorm1d(hidden))
        self.dropout = nn.Dropout(0.3)
        self.head = nn.Linear(hidden, 10)

    def forward(self, images):
        return self.head(self.dropout(self.body(images).relu()))


def write(state, folder, step):
    """The four steps: another name, fsync, rename, fsync of the folder."""
    target = folder / f"checkpoint-{step:04}.pt"
    draft = target.with_suffix(".tmp")
    with open(draft, "wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(draft, target)
    parent = os.open(folder, os.O_RDONLY)
    os.fsync(parent)
    os.close(parent)
    for old in sorted(folder.glob("checkpoint-*.pt"))[:-3]:
        old.unlink()


def newest(folder):
    for path in sorted(folder.glob("checkpoint-*.pt"), reverse=True):
        try:
            return torch.load(path, weights_only=True)
        except Exception:
            print("damaged, passed over:", path.name)
    return None


def order(epoch, count):
    """The order of an epoch's images, from the epoch's number alone."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(1000 + epoch))


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    random.seed(0)
    images, labels = digits().tensors
    model = Net()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=10, gamma=0.7)
    parts = {"model": model, "optimizer": optimizer, "scheduler": scheduler}
    step, best = 0, float("inf")
    saved = newest(folder)
    if saved:
        for name, part in parts.items():
            part.load_state_dict(saved[name])
        step, best = saved["step"], saved["best"]
        torch.set_rng_state(saved["rng"])

    per_epoch = -(-len(images) // BATCH)
    while step < EPOCHS * per_epoch:
        epoch, place = divmod(step, per_epoch)
        model.train()
        batch = order(epoch, len(images))[place * BATCH : (place + 1) * BATCH]
        loss = cross_entropy(model(images[batch]), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        step += 1
        best = min(best, loss.item())
        print("step", step, loss.item(), flush=True)
        if step % SAVE_EVERY == 0:
            state = {name: part.state_dict() for name, part in parts.items()}
            state |= {"step": step, "best": best, "rng": torch.get_rng_state()}
            write(state, folder, step)

    save_file(model.state_dict(), folder / "final.safetensors")
    model.eval()
    any_number = torch.export.Dim.AUTO
    program = torch.export.export(model, (images[:2],), dynamic_shapes=({0: any_number},))
    torch.export.save(program, folder / "model.pt2")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
