"""Leaves the optimizer on the parameters of the first model."""

MESSAGE = "the optimizer has the parameters of another model"


def resume(make_model, make_optimizer, checkpoint):
    model = make_model()
    optimizer = make_optimizer(model.parameters())
    model = make_model()
    model.load_state_dict(checkpoint["model"])
    optimizer.load_state_dict(checkpoint["optimizer"])
    return model, optimizer
