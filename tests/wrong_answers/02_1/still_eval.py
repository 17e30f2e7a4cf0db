"""Repairs the optimizer and leaves the model in eval mode."""

MESSAGE = "The model is in eval mode"
CREDIT = 0.5


def resume(make_model, make_optimizer, checkpoint):
    model = make_model()
    model.load_state_dict(checkpoint["model"])
    optimizer = make_optimizer(model.parameters())
    optimizer.load_state_dict(checkpoint["optimizer"])
    model.eval()
    return model, optimizer
