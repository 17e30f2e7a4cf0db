"""A right answer to the capstone."""

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch.nn.functional import cross_entropy

from course_utils.checkpoint import CheckpointManager
from course_utils.lessons.data import digits
from course_utils.lessons.fragile import BATCH, EPOCHS, SAVE_EVERY, Net
from course_utils.resume import ResumableSampler, TrainState


def main(folder):
    torch.manual_seed(0)
    images, labels = digits().tensors
    model = Net()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=10, gamma=0.7)
    sampler = ResumableSampler(len(images), seed=0)
    run = TrainState(model, optimizer, scheduler=scheduler, sampler=sampler)
    manager = CheckpointManager(folder / "checkpoints", keep_last=2)
    if manager.latest() is not None:
        run.load_state_dict(manager.restore())
    while run.epoch < EPOCHS:
        model.train()
        for batch in torch.tensor(list(sampler)).split(BATCH):
            loss = cross_entropy(model(images[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
            run.step += 1
            sampler.advance(len(batch))
            print("step", run.step, loss.item(), flush=True)
            if run.step % SAVE_EVERY == 0:
                manager.save(run.state_dict(), run.step)
        run.epoch += 1
        sampler.next_epoch()
    save_file(model.state_dict(), folder / "final.safetensors")
    free = ({0: torch.export.Dim("batch", min=1)},)
    program = torch.export.export(model.eval(), (images[:4],), dynamic_shapes=free)
    torch.export.save(program, folder / "model.pt2")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
