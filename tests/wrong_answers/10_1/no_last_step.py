"""Forgets the step at the end of an epoch after fewer batches."""

MESSAGE = "Another number of epochs"


def place(step, images, batch, accumulate):
    epochs, steps = divmod(step, max(1, -(-images // batch) // accumulate))
    return epochs, steps * accumulate
