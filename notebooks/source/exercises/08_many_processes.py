# %% [markdown]
# # Exercises: 08 · Many processes
#
# Write your answer in the cell below each task and run it, then run the cell with
# `check`. It says *correct*, *not attempted yet*, or *wrong* with what was tried, what
# was expected and what came. Each new mistake earns one more hint. If you give up,
# `solution("08.1")` in a cell of your own shows the answer.
#
# **Time:** 55 minutes. **Needs:** [the lesson](../08_many_processes.ipynb).

# %%
from course_utils.grading import check, solution

# %% [markdown]
# ## 08.1 Who has which rows
#
# *easy, 8 minutes*
#
# Sharding cuts a tensor along its first dimension. PyTorch cuts as `torch.chunk` does: every rank
# gets `ceil(rows / ranks)` rows, the last ones get what is left, which may be nothing.
#
# Write `rows_of(rows, ranks, rank)`: the pair `(start, stop)` of the rows that a rank holds. An
# empty part is `(rows, rows)`.

# %%
def rows_of(rows, ranks, rank):
    """Return the first row of a rank's part, and the row after its last."""
    size = rows // ranks
    return rank * size, (rank + 1) * size

# %%
check("08.1", rows_of)

# %% [markdown]
# ## 08.2 Reshard
#
# *medium, 12 minutes*
#
# A tensor was saved as a list of parts, one per rank, cut along the first dimension; some may be
# empty. Write `reshard(parts, ranks)`: the parts for another number of ranks, cut as `torch.chunk`
# cuts, but always as many parts as ranks: the missing ones are empty, with the right shape in the
# other dimensions and the right dtype.
#
# No part of the result may share memory with another one or with the input: each rank will train
# its own.

# %%
import torch


def reshard(parts, ranks):
    """Return the parts of a tensor for another number of ranks."""
    return list(torch.chunk(torch.cat(parts), ranks))

# %%
check("08.2", reshard)

# %% [markdown]
# ## 08.3 The commit point
#
# *medium, 15 minutes*
#
# Every rank writes a file into a folder `step-8`, `step-16`, … When all have written, one rank
# writes `commit.json` last: `{"files": {"rank-0.bin": 1024, …}}`, the size of every file. Without
# it, or when a file is missing or has another size, the folder is not a checkpoint: somebody died
# while saving.
#
# Write `newest_committed(folder)`: the path of the committed checkpoint with the highest step, or
# `None`. A `commit.json` that is not readable JSON counts as absent.

# %%
def newest_committed(folder):
    """Return the newest folder that holds a whole checkpoint, or None."""
    steps = sorted(folder.glob("step-*"))
    return steps[-1] if steps else None

# %%
check("08.3", newest_committed)

# %% [markdown]
# ## 08.4 The same batch for any number of ranks
#
# *hard, 20 minutes*
#
# A run reads its data in a fixed `order` (a list of indices) and has got to `position`. Every step
# takes the next `batch` indices, **together**: the ranks share them. Write `next_part(order,
# position, batch, ranks, rank)`: the indices that one rank takes in the next step.
#
# The union over the ranks must be the same batch whatever the number of ranks, so that a run may
# continue with another number. Cut the batch as `torch.chunk` does: parts of `ceil(n / ranks)`, the
# last ones smaller or empty. The last batch of an epoch may be shorter than `batch`.

# %%
def next_part(order, position, batch, ranks, rank):
    """Return the indices that a rank takes in the next step."""
    start = position + rank * batch
    return order[start : start + batch]

# %%
check("08.4", next_part)

# %% [markdown]
# Back to [the lesson](../08_many_processes.ipynb).
