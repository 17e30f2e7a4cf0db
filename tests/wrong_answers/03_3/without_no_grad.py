"""Writes into parameters that require a gradient."""

MESSAGE = "It raised an error. RuntimeError: a view of a leaf Variable"


def load_head(head, saved, old, new):
    for row, name in enumerate(new):
        if name in old:
            head.weight[row] = saved["weight"][old.index(name)]
            head.bias[row] = saved["bias"][old.index(name)]
