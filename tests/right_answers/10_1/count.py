"""Counts step by step."""


def place(step, images, batch, accumulate):
    epochs = done = 0
    for _ in range(step):
        done += accumulate
        if done * batch >= images:
            epochs, done = epochs + 1, 0
    return epochs, done
