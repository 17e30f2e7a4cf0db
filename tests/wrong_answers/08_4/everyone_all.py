"""Gives every rank the whole batch."""

MESSAGE = "Two ranks take the same image"


def next_part(order, position, batch, ranks, rank):
    return order[position : position + batch]
