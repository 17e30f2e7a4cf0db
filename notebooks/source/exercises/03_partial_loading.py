# %% [markdown]
# # Exercises: 03 · Partial loading
#
# Write your answer in the cell below each task and run it, then run the cell with
# `check`. It says *correct*, *not attempted yet*, or *wrong* with what was tried, what
# was expected and what came. Each new mistake earns one more hint. If you give up,
# `solution("03.1")` in a cell of your own shows the answer.
#
# **Time:** 57 minutes. **Needs:** [the lesson](../03_partial_loading.ipynb).

# %%
from course_utils.grading import check, solution

# %% [markdown]
# ## 03.1 Three steps
#
# *easy, 8 minutes*
#
# Write `load_what_fits(model, checkpoint)`. It loads from a dictionary of tensors whatever fits the
# model by name **and** shape, and leaves everything else in the model as it is. It returns the sorted
# list of the checkpoint's names that were left out.
#
# If nothing at all fits, it raises `ValueError`: silence would be taken for success. The checkpoint's
# dictionary must not change: that is worth half.

# %%
def load_what_fits(model, checkpoint):
    """Load what fits by name and shape; return the sorted names that were left out."""
    result = model.load_state_dict(checkpoint, strict=False)
    return sorted(result.unexpected_keys)

# %%
check("03.1", load_what_fits)

# %% [markdown]
# ## 03.2 Nested prefixes
#
# *medium, 10 minutes*
#
# `DataParallel` and `DistributedDataParallel` put `module.` in front of every name, `torch.compile`
# puts `_orig_mod.`, and both happen together, in either order and more than once.
#
# Write `strip(state)`. It returns a dictionary with the same tensors in the same order, without the
# prefixes of wrappers. A wrapper marks **every** name of the file: where only some names begin with
# `module.`, the model really has a part of that name, and it stays. So does `module` further inside a
# name.

# %%
def strip(state):
    """Return the state without the prefixes of wrappers."""
    return {name.replace("module.", ""): tensor for name, tensor in state.items()}

# %%
check("03.2", strip)

# %% [markdown]
# ## 03.3 A head for more classes
#
# *medium, 12 minutes*
#
# A classifier learned some classes. Now it gets more, and a colleague has sorted the list of classes
# anew.
#
# Write `load_head(head, saved, old, new)`. `head` is a fresh `nn.Linear` with one row for each name
# in `new`; `saved` holds the trained `"weight"` and `"bias"`, one row for each name in `old`. A
# class that is in both lists gets its trained row, wherever it stands now; a new class keeps its
# fresh values.
#
# An optimizer may already hold the head's parameters, so change their **values** and do not replace
# them: that is worth half. Nothing is returned.

# %%
def load_head(head, saved, old, new):
    """Load the trained rows by the names of their classes."""
    raise NotImplementedError

# %%
check("03.3", load_head)

# %% [markdown]
# ## 03.4 Frozen means frozen
#
# *medium, 12 minutes*
#
# `train_head` shall train `model.head` and leave `model.features` exactly as they are. After it, the
# features answer differently, although no weight of theirs has changed. Repair it.
#
# The head has dropout, which must be on while it trains. Keep the optimizer (SGD with learning rate
# `lr`) and the loss. The model may come in either mode, and has been trained before.

# %%
import torch
from torch.nn.functional import mse_loss


def train_head(model, batches, lr):
    """Train the head on pairs of inputs and targets; the features stay as they are."""
    model.features.requires_grad_(False)
    optimizer = torch.optim.SGD(model.head.parameters(), lr=lr)
    model.train()
    for inputs, targets in batches:
        optimizer.zero_grad()
        mse_loss(model(inputs), targets).backward()
        optimizer.step()

# %%
check("03.4", train_head)

# %% [markdown]
# ## 03.5 More channels, or fewer
#
# *hard, 15 minutes*
#
# A network was trained on grey images, and now gets colour; another was trained on colour, and now
# gets grey images.
#
# Write `adapt(conv, channels)`. It returns a new `nn.Conv2d` with `channels` input channels in place
# of `conv`: from 1 to any number, or from any number to 1. An image whose channels are all equal
# must get the same response from both, and all channels count alike. Stride, padding and the bias
# (there may be none) are those of `conv`, which itself stays as it is, also when the new one is
# trained.

# %%
def adapt(conv, channels):
    """Return the convolution for another number of input channels."""
    raise NotImplementedError

# %%
check("03.5", adapt)

# %% [markdown]
# Back to [the lesson](../03_partial_loading.ipynb).
