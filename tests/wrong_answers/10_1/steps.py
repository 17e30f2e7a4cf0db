"""Skips as many batches as steps."""

import math

MESSAGE = "Another number of batches is to be skipped"


def place(step, images, batch, accumulate):
    return divmod(step, math.ceil(math.ceil(images / batch) / accumulate))
