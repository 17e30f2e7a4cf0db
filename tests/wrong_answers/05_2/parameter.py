"""Makes the row a parameter, which an optimizer would change."""

import torch

MESSAGE = "would be trained"
CREDIT = 0.5


class AddPositions(torch.nn.Module):
    def __init__(self, columns):
        super().__init__()
        self.positions = torch.nn.Parameter(torch.arange(columns).float())

    def forward(self, x):
        return x + self.positions
