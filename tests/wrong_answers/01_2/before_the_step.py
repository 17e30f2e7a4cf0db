"""Evaluates, but keeps the weights from before the step."""

import copy

MESSAGE = "You kept step 1, but step 2"


def keep_best(model, train_step, evaluate, steps):
    best, highest = None, float("-inf")
    for _ in range(steps):
        before = copy.deepcopy(model.state_dict())
        train_step()
        accuracy = evaluate()
        if accuracy > highest:
            highest, best = accuracy, before
    return best
