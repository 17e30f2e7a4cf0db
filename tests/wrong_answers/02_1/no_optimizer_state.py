"""Takes a fresh optimizer and does not load its state."""

MESSAGE = "The optimizer's settings are not those of the checkpoint"


def resume(make_model, make_optimizer, checkpoint):
    model = make_model()
    model.load_state_dict(checkpoint["model"])
    return model, make_optimizer(model.parameters())
