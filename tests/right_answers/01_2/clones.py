"""Clones every tensor of the best so far."""


def keep_best(model, train_step, evaluate, steps):
    best = None
    for _ in range(steps):
        train_step()
        accuracy = evaluate()
        if best is None or accuracy > best[0]:
            best = accuracy, {k: v.detach().clone() for k, v in model.state_dict().items()}
    return best[1]
