"""Keeps the later of two equal accuracies."""

import copy

MESSAGE = "You kept step 3, but step 2 is the first"


def keep_best(model, train_step, evaluate, steps):
    best, highest = None, float("-inf")
    for _ in range(steps):
        train_step()
        accuracy = evaluate()
        if accuracy >= highest:
            highest, best = accuracy, copy.deepcopy(model.state_dict())
    return best
