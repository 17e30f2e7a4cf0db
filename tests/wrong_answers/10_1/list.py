"""Returns a list."""

import math

MESSAGE = "A tuple of two numbers"


def place(step, images, batch, accumulate):
    epochs, steps = divmod(step, math.ceil(math.ceil(images / batch) / accumulate))
    return [epochs, steps * accumulate]
