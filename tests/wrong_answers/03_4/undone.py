"""Sets eval mode first, and train() undoes it."""

import torch
from torch.nn.functional import mse_loss

MESSAGE = "features.1.running_mean has changed: BatchNorm still counts"


def train_head(model, batches, lr):
    optimizer = torch.optim.SGD(model.head.parameters(), lr=lr)
    model.features.requires_grad_(False)
    model.features.eval()
    model.train()
    for inputs, targets in batches:
        optimizer.zero_grad()
        mse_loss(model(inputs), targets).backward()
        optimizer.step()
