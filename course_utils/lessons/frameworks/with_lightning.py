"""The tiny run with Lightning: lesson 10."""

import warnings
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint

from course_utils.lessons.frameworks.tiny_run import (
    AS_IT_IS,
    EPOCHS,
    IMAGES,
    REPAIRED,
    SAVE_AT,
    Attempt,
    main,
    new_loader,
    new_model,
    new_optimizer,
)
from course_utils.resume.rng import RngState
from course_utils.resume.sampler import ResumableSampler


class Module(lightning.LightningModule):
    """The model as Lightning wants it."""

    def __init__(self) -> None:
        super().__init__()
        self.model = new_model()
        self.optimizer, self.schedule = new_optimizer(self.model)

    def training_step(self, batch: Any, number: int) -> Any:
        """Return the loss."""
        return self.model(**batch)["loss"]

    def configure_optimizers(self) -> Any:
        """Return optimizer and schedule, which goes on with each step."""
        schedule = {"scheduler": self.schedule, "interval": "step"}
        return {"optimizer": self.optimizer, "lr_scheduler": schedule}


class WholeEpochs(ResumableSampler):
    """Counts the images of a whole epoch: Lightning asks once, and asks for batch 4 of 6."""

    def __len__(self) -> int:
        return self.size


class Place(Callback):
    """Saves, in Lightning's own file, where the data and the random numbers stand."""

    def __init__(self, sampler: ResumableSampler) -> None:
        self.sampler = sampler
        self.random: dict[str, Any] | None = None

    def state_dict(self) -> dict[str, Any]:
        """Return both."""
        return {"sampler": self.sampler.state_dict(), "rng": RngState().state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Put the sampler back; the random numbers when all is set up, and draws no more."""
        self.sampler.load_state_dict(state_dict["sampler"])
        self.random = state_dict["rng"]

    def on_train_batch_start(self, *_: Any) -> None:
        """Put the random numbers back, before the first batch."""
        if self.random is not None:
            RngState().load_state_dict(self.random)
            self.random = None

    def on_train_batch_end(
        self, trainer: Any, module: Any, outputs: Any, batch: Any, *_: Any
    ) -> None:
        """Note what was trained on."""
        self.sampler.advance(len(batch["labels"]))

    def on_train_epoch_end(self, *_: Any) -> None:
        """Go to the next epoch's order."""
        self.sampler.next_epoch()


def train(attempt: Attempt) -> None:
    """Train, or go on where the file of step 9 stands."""
    module = Module()
    attempt.watch(module.model, module.optimizer)
    loader, callbacks = new_loader(), []
    if attempt.way == REPAIRED:
        sampler = WholeEpochs(IMAGES)
        loader, callbacks = new_loader(sampler, torch.Generator()), [Place(sampler)]

    checkpoints = ModelCheckpoint(
        attempt.folder, "{step}", every_n_train_steps=SAVE_AT, save_top_k=-1
    )
    trainer = lightning.Trainer(
        max_epochs=EPOCHS, callbacks=[*callbacks, checkpoints], **quiet(attempt)
    )
    path = attempt.folder / f"step={SAVE_AT}.ckpt" if attempt.resume else None
    trainer.fit(module, loader, ckpt_path=path)
    attempt.end(module.model, module.optimizer)


def quiet(attempt: Attempt) -> dict[str, Any]:
    """Return what is not of interest here: a processor, and no bars, logs and summaries."""
    warnings.simplefilter("ignore")
    names = ("logger", "enable_progress_bar", "enable_model_summary")
    folder = {"default_root_dir": attempt.folder}
    return {"accelerator": "cpu", "devices": 1, **folder, **dict.fromkeys(names, False)}


if __name__ == "__main__":
    main(train, AS_IT_IS, REPAIRED)
