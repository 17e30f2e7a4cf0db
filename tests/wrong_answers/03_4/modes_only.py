"""Sets the modes and lets the optimizer have everything."""

import torch
from torch.nn.functional import mse_loss

MESSAGE = "features.0.weight has been trained"


def train_head(model, batches, lr):
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    model.train()
    model.features.eval()
    for inputs, targets in batches:
        optimizer.zero_grad()
        mse_loss(model(inputs), targets).backward()
        optimizer.step()
