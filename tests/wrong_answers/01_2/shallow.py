"""Copies the dictionary, not the tensors."""

MESSAGE = "moved with the model"


def keep_best(model, train_step, evaluate, steps):
    best, highest = None, float("-inf")
    for _ in range(steps):
        train_step()
        accuracy = evaluate()
        if accuracy > highest:
            highest, best = accuracy, dict(model.state_dict())
    return best
