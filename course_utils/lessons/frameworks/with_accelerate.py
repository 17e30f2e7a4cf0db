"""The tiny run with accelerate: lesson 10."""

import torch
from accelerate import Accelerator
from accelerate.utils import DataLoaderConfiguration

from course_utils.lessons.frameworks.tiny_run import (
    AS_IT_IS,
    EPOCHS,
    PER_EPOCH,
    REPAIRED,
    SAVE_AT,
    Attempt,
    main,
    new_loader,
    new_model,
    new_optimizer,
)

SEEDABLE = "seedable sampler"  # a repair that is widely given, and only half of one


def train(attempt: Attempt) -> None:
    """Train, or go on where the folder of step 9 stands."""
    model = new_model()
    adam, schedule = new_optimizer(model)
    attempt.watch(model, adam)
    seedable, own = False, None
    if attempt.way != AS_IT_IS:
        seedable = True  # the order follows from a seed and the epoch
    if attempt.way == REPAIRED:
        own = torch.Generator()  # to begin an epoch takes nothing from dropout's generator

    data = DataLoaderConfiguration(use_seedable_sampler=seedable)
    accelerator = Accelerator(cpu=True, dataloader_config=data)
    model, optimizer, loader, schedule = accelerator.prepare(
        model, adam, new_loader(generator=own), schedule
    )
    step = 0
    if attempt.resume:
        accelerator.load_state(attempt.folder / f"step_{SAVE_AT}")
        step = SAVE_AT  # accelerate's examples take it from the folder's name
    for epoch in range(step // PER_EPOCH, EPOCHS):
        batches = accelerator.skip_first_batches(loader, step % PER_EPOCH)
        batches.set_epoch(epoch)
        for batch in batches:
            accelerator.backward(model(**batch)["loss"])
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            step += 1
            if step == SAVE_AT:
                accelerator.save_state(attempt.folder / f"step_{step}")
    attempt.end(model, adam)


if __name__ == "__main__":
    main(train, AS_IT_IS, SEEDABLE, REPAIRED)
