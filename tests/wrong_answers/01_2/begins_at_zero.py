"""Takes an accuracy of 0 for no improvement."""

import copy

MESSAGE = "an accuracy may be 0"


def keep_best(model, train_step, evaluate, steps):
    best, highest = None, 0
    for _ in range(steps):
        train_step()
        accuracy = evaluate()
        if accuracy > highest:
            highest, best = accuracy, copy.deepcopy(model.state_dict())
    return best
