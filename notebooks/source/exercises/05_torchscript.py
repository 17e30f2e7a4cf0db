# %% [markdown]
# # Exercises: 05 · TorchScript (legacy), and a C++ program that loads it
#
# Write your answer in the cell below each task and run it, then run the cell with
# `check`. It says *correct*, *not attempted yet*, or *wrong* with what was tried, what
# was expected and what came. Each new mistake earns one more hint. If you give up,
# `solution("05.1")` in a cell of your own shows the answer.
#
# **Time:** 54 minutes. **Needs:** [the lesson](../05_torchscript.ipynb).

# %%
from course_utils.grading import check, solution

# %% [markdown]
# ## 05.1 A trace that lies
#
# *easy, 10 minutes*
#
# Write `export(module, example, path)`. It writes a TorchScript file that computes, for **every**
# input, what the module computes in `eval()` mode. Modules may have branches and loops that depend
# on the data, and dropout.
#
# Leave the module and each of its parts in the mode they were in.

# %%
import torch


def export(module, example, path):
    """Write a TorchScript file that computes what the module computes in eval mode."""
    torch.jit.trace(module, example).save(path)

# %%
check("05.1", export)

# %% [markdown]
# ## 05.2 A constant that stays behind
#
# *medium, 12 minutes*
#
# `AddPositions(columns)` adds 0, 1, 2, … to the columns of its input. Traced on a CPU, it makes
# that row on the CPU wherever it is loaded: the trace has written the device down.
#
# Repair it, so that the row moves with the module (to another device or dtype), and a trace names
# no device. Old checkpoints of this module are empty, and must still load with `strict=True`.

# %%
import torch


class AddPositions(torch.nn.Module):
    """Adds 0, 1, 2, … to the columns of its input."""

    def __init__(self, columns):
        super().__init__()
        self.columns = columns

    def forward(self, x):
        return x + torch.arange(self.columns, device=x.device)

# %%
check("05.2", AddPositions)

# %% [markdown]
# ## 05.3 The names of the classes
#
# *medium, 12 minutes*
#
# A TorchScript file holds a classifier and, as the extra file `classes.json`, a JSON list with the
# names of its classes. Write `classify(path, x)`: load the file onto the CPU, run the module on the
# batch `x` without recording gradients, and return a list with one class name for each row.
#
# A file without `classes.json` is a `ValueError`.

# %%
import torch


def classify(path, x):
    """Return the name of the most likely class for each row of x."""
    module = torch.jit.load(path)
    return module(x).argmax(1).tolist()

# %%
check("05.3", classify)

# %% [markdown]
# ## 05.4 Weights for C++
#
# *hard, 20 minutes*
#
# In C++, `torch::jit::pickle_load` reads what `torch.save` wrote, if the file holds nothing but
# plain dictionaries of plain tensors. A `state_dict` is an `OrderedDict`, which it does not know,
# and a `Parameter` is not a plain tensor.
#
# Write `save_for_cpp(checkpoint, path)`. The checkpoint is a dictionary that may hold state_dicts,
# dictionaries in dictionaries, tensors, parameters, numbers and texts. Save the same content under
# the same keys so that C++ can read it. Tensors become contiguous, without a gradient, and take no
# more room in the file than their own numbers.

# %%
import torch


def save_for_cpp(checkpoint, path):
    """Save a checkpoint so that torch::jit::pickle_load reads it."""
    torch.save(dict(checkpoint), path)

# %%
check("05.4", save_for_cpp)

# %% [markdown]
# Back to [the lesson](../05_torchscript.ipynb).
