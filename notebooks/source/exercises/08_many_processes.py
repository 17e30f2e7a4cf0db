# %% [markdown]
# # Exercises: 08 · Many processes
#
# Write your answer in the cell below each task and run it, then run the cell with
# `check`. It says *correct*, *not attempted yet*, or *wrong* with what was tried, what
# was expected and what came. Each new mistake earns one more hint. If you give up,
# `solution("08.1")` in a cell of your own shows the answer.
#
# **Time:** 95 minutes. **Needs:** [the lesson](../08_many_processes.ipynb).

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
# ## 08.5 Fill, and say what was left out
#
# *medium, 15 minutes*
#
# A run saved `{"model": …, "optimizer": …, "step": …}` with plain `dcp.save`. Write `fill(folder,
# model)`, which takes the weights alone out of it, in one process and without a group.
#
# - The tensors of `model` are **filled**: they stay the same objects in the same memory, because an
#   optimizer may hold them already.
# - It returns a sorted list of the model's names in the folder that `model` does not have, without
#   the `"model."` in front. DCP would pass them over without a word.
# - If `model` has a name that the folder lacks, a `KeyError` comes.

# %%
import torch.distributed.checkpoint as dcp


def fill(folder, model):
    """Fill a model; return the names in the folder that it does not have."""
    state = {"model": {name: tensor.clone() for name, tensor in model.state_dict().items()}}
    dcp.load(state, checkpoint_id=folder)
    return []

# %%
check("08.5", fill)

# %% [markdown]
# ## 08.6 A run that DCP can save
#
# *hard, 25 minutes*
#
# DCP calls `state_dict` and `load_state_dict` of an object itself. So a whole run can be one entry:
#
# ```python
# dcp.save({"run": Run(model, optimizer, position=300)}, checkpoint_id=folder)
#
# # In a new process: a new model, and an optimizer that has made no step.
# run = Run(model, optimizer)
# dcp.load({"run": run}, checkpoint_id=folder)
# run.position  # 300
# ```
#
# Write the class `Run`. `model` is spread with `fully_shard`, `position` is a number of images.
#
# - After loading, training goes on exactly, with the optimizer's moments and learning rates: a
#   schedule had changed the rates before the save.
# - The new process may give the parameters to its optimizer in another order: the moments must find
#   theirs by name.
# - Each rank saves what it has: what is a `DTensor` in the model or in its optimizer stays one.

# %%
class Run:
    """Model, optimizer and place in the data, for DCP."""

    def __init__(self, model, optimizer, position=0):
        self.model, self.optimizer, self.position = model, optimizer, position

    def state_dict(self):
        return {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state):
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])

# %%
check("08.6", Run)

# %% [markdown]
# Back to [the lesson](../08_many_processes.ipynb).
