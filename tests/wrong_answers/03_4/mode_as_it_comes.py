"""Takes the mode as it comes."""

import torch
from torch.nn.functional import mse_loss

MESSAGE = "but the head was trained in another way"


def train_head(model, batches, lr):
    optimizer = torch.optim.SGD(model.head.parameters(), lr=lr)
    model.features.requires_grad_(False)
    model.features.eval()
    for inputs, targets in batches:
        optimizer.zero_grad()
        mse_loss(model(inputs), targets).backward()
        optimizer.step()
