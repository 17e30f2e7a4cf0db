# %% [markdown]
# # Exercises: 09 · After TorchScript: one model, many files
#
# Write your answer in the cell below each task and run it, then run the cell with
# `check`. It says *correct*, *not attempted yet*, or *wrong* with what was tried, what
# was expected and what came. Each new mistake earns one more hint. If you give up,
# `solution("09.1")` in a cell of your own shows the answer.
#
# **Time:** 59 minutes. **Needs:** [the lesson](../09_after_torchscript.ipynb).

# %%
from course_utils.grading import check, solution

# %% [markdown]
# ## 09.1 A program with a free batch
#
# *easy, 12 minutes*
#
# Write `export(module, example)`. It returns a `torch.export` program that computes what the module
# computes in `eval()` mode, for a batch of **any** size. The example is one tensor, its first
# dimension the batch. Leave the module and each of its parts in the mode they were in.

# %%
import torch


def export(module, example):
    """Return an exported program with a free batch size."""
    return torch.export.export(module, (example,))

# %%
check("09.1", export)

# %% [markdown]
# ## 09.2 A branch without if
#
# *hard, 20 minutes*
#
# `torch.export` and `torch.jit.trace` keep one way through an `if` on data. Write `safe_root(x)`
# without one: for each element the square root where `x > 0`, and 0 elsewhere.
#
# It will be trained, so its gradient must be right, too: `0.5 / sqrt(x)` where `x > 0`, and **0**
# elsewhere, not NaN.

# %%
import torch


def safe_root(x):
    """Return the square root where x is positive, else 0."""
    if (x > 0).all():
        return x.sqrt()
    return torch.zeros_like(x)

# %%
check("09.2", safe_root)

# %% [markdown]
# ## 09.3 Do they agree?
#
# *medium, 12 minutes*
#
# Write `gap(expected, came)`: the largest absolute difference between two tensors, as a Python
# float, to judge an export by. It is `inf` where they cannot be compared: another shape, another
# dtype, or a NaN or infinity on one side that is not on the other. The same NaN or infinity at the
# same place is no difference. Two empty tensors of one shape have a gap of 0.

# %%
def gap(expected, came):
    """Return the largest absolute difference of two tensors, as a float."""
    return (expected - came).abs().max().item()

# %%
check("09.3", gap)

# %% [markdown]
# ## 09.4 State that an export can see
#
# *medium, 15 minutes*
#
# `RunningMax()` divides its input by the largest absolute value it has seen so far, this input
# included. It keeps that number in a Python attribute, which no trace, export or checkpoint knows
# of.
#
# Repair it: the number is a buffer called `largest`, a scalar tensor that begins at 0, is saved
# with the `state_dict`, and is updated in every call, in a trace as well. An input of zeros before
# anything else must not divide by zero: the output is zeros.

# %%
import torch


class RunningMax(torch.nn.Module):
    """Divides by the largest absolute value seen so far."""

    def __init__(self):
        super().__init__()
        self.largest = 0.0

    def forward(self, x):
        self.largest = max(self.largest, x.abs().max().item())
        return x / self.largest if self.largest else x

# %%
check("09.4", RunningMax)

# %% [markdown]
# Back to [the lesson](../09_after_torchscript.ipynb).
