"""Computes the features without gradients and trains the head on them."""

import torch
from torch.nn.functional import mse_loss


def train_head(model, batches, lr):
    optimizer = torch.optim.SGD(model.head.parameters(), lr=lr)
    model.features.eval()
    model.head.train()
    for inputs, targets in batches:
        with torch.no_grad():
            features = model.features(inputs)
        optimizer.zero_grad()
        mse_loss(model.head(features), targets).backward()
        optimizer.step()
