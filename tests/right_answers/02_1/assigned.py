"""Assigns the weights, and builds the optimizer after that."""


def resume(make_model, make_optimizer, checkpoint):
    model = make_model().train()
    model.load_state_dict(checkpoint["model"], assign=True)
    optimizer = make_optimizer(list(model.parameters()))
    optimizer.load_state_dict(checkpoint["optimizer"])
    return model, optimizer
