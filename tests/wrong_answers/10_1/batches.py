"""Counts batches through, as if no epoch ended early."""

import math

MESSAGE = "Another number of batches is to be skipped"


def place(step, images, batch, accumulate):
    return divmod(step * accumulate, math.ceil(images / batch))
