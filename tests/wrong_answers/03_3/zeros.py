"""Sets the new rows to zero."""

import torch

MESSAGE = "fox is a new class: its weight should keep its fresh values"


def load_head(head, saved, old, new):
    with torch.no_grad():
        head.weight.zero_()
        head.bias.zero_()
        for row, name in enumerate(new):
            if name in old:
                head.weight[row] = saved["weight"][old.index(name)]
                head.bias[row] = saved["bias"][old.index(name)]
