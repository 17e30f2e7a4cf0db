"""Deals the batch out like cards, as DistributedSampler does."""

MESSAGE = "cut in another way"
CREDIT = 0.5


def next_part(order, position, batch, ranks, rank):
    return order[position : position + batch][rank::ranks]
