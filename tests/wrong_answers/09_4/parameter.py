"""Makes the number a parameter."""

import torch

MESSAGE = "an optimizer would change it"
CREDIT = 0.5


class RunningMax(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.largest = torch.nn.Parameter(torch.zeros(()))

    def forward(self, x):
        with torch.no_grad():
            self.largest.copy_(torch.maximum(self.largest, x.abs().max()))
        return x / torch.where(self.largest > 0, self.largest, 1.0)
