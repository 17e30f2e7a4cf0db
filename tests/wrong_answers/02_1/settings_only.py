"""Takes over the learning rate and forgets the moments."""

MESSAGE = "The optimizer has forgotten what it knew"


def resume(make_model, make_optimizer, checkpoint):
    model = make_model()
    model.load_state_dict(checkpoint["model"])
    optimizer = make_optimizer(model.parameters())
    for group, saved in zip(
        optimizer.param_groups, checkpoint["optimizer"]["param_groups"], strict=True
    ):
        group["lr"] = saved["lr"]
    return model, optimizer
