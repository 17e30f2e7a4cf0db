"""Builds model and optimizer rightly and loads the optimizer only."""

MESSAGE = "The model's weights are not those of the checkpoint"


def resume(make_model, make_optimizer, checkpoint):
    model = make_model()
    optimizer = make_optimizer(model.parameters())
    optimizer.load_state_dict(checkpoint["optimizer"])
    return model, optimizer
