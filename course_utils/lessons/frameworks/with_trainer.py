"""The tiny run with the Trainer of transformers: lesson 10. It needs no repair."""

from typing import Any

from transformers import Trainer, TrainingArguments

from course_utils.lessons.frameworks.tiny_run import (
    AS_IT_IS,
    BATCH,
    EPOCHS,
    SAVE_AT,
    Attempt,
    TinyData,
    main,
    new_model,
    new_optimizer,
)


def train(attempt: Attempt) -> None:
    """Train, or go on where the folder of step 9 stands."""
    model = new_model()
    optimizer, schedule = new_optimizer(model)
    attempt.watch(model, optimizer)
    arguments = TrainingArguments(
        output_dir=str(attempt.folder),
        num_train_epochs=EPOCHS,
        per_device_train_batch_size=BATCH,
        save_strategy="steps",
        save_steps=SAVE_AT,
        seed=0,
        use_cpu=True,
        report_to="none",
        disable_tqdm=True,
    )
    both: Any = (optimizer, schedule)
    trainer = Trainer(model, arguments, train_dataset=TinyData(), optimizers=both)
    folder = str(attempt.folder / f"checkpoint-{SAVE_AT}") if attempt.resume else None
    trainer.train(resume_from_checkpoint=folder)
    attempt.end(model, optimizer)


if __name__ == "__main__":
    main(train, AS_IT_IS)
