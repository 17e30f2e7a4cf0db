# %% [markdown]
# # Exercises: 04 · map_location
#
# Write your answer in the cell below each task and run it, then run the cell with
# `check`. It says *correct*, *not attempted yet*, or *wrong* with what was tried, what
# was expected and what came. Each new mistake earns one more hint. If you give up,
# `solution("04.1")` in a cell of your own shows the answer.
#
# **Time:** 57 minutes. **Needs:** [the lesson](../04_map_location.ipynb).

# %%
from course_utils.grading import check, solution

# %% [markdown]
# ## 04.1 A GPU's file on a laptop
#
# *easy, 5 minutes*
#
# A colleague saved a checkpoint on a GPU. Write `load(path)`, which returns it with every tensor on
# the CPU, on any machine.
#
# The path may also come from a stranger: a file that would run code must raise an error, and its
# code must not run.

# %%
import torch


def load(path):
    """Return the checkpoint with every tensor on the CPU."""
    return torch.load(path)

# %%
check("04.1", load)

# %% [markdown]
# ## 04.2 Retarget, and miss nothing
#
# *medium, 12 minutes*
#
# A file was saved by a machine with several GPUs. Write `retarget(path, moves)`: it loads the file
# with the tensors of each location tag on the device that `moves` names, for example `{"cuda:0":
# "cpu", "cuda:1": "meta"}`. (`meta` plays a second device here; it holds shapes and no numbers.)
#
# A tag in the file that `moves` does not name is a `KeyError` that names the tag. A tag in `moves`
# that the file does not hold is fine.

# %%
import torch


def retarget(path, moves):
    """Load a file with each location tag on the device that `moves` names."""
    return torch.load(path, map_location=moves)

# %%
check("04.2", retarget)

# %% [markdown]
# ## 04.3 The optimizer follows
#
# *medium, 15 minutes*
#
# A model was moved to another dtype (or device) **after** its optimizer had begun to work, so the
# moments stayed behind. Write `follow(optimizer)`: in place, every tensor of the optimizer's state
# takes the dtype and device of its parameter.
#
# One entry is special: `step` is a count. It stays as it is, float32 on the CPU.

# %%
def follow(optimizer):
    """Bring the optimizer's state to the dtype and device of its parameters, in place."""
    raise NotImplementedError

# %%
check("04.3", follow)

# %% [markdown]
# ## 04.4 Meta, done right
#
# *hard, 25 minutes*
#
# Write `load_large(make_model, path)`. It returns a model with the weights of the file, without
# ever holding random weights in memory: the model is **made on the meta device** and the file's
# tensors are **assigned**.
#
# The models here have two things that such a load leaves wrong. Each model has a method for each:
# `tie_weights()` makes its output layer use the embedding's weight again, and `make_buffers()`
# computes the buffers that are not in any file, on the CPU.

# %%
import torch


def load_large(make_model, path):
    """Return a model with the file's weights, made on the meta device."""
    model = make_model()
    model.load_state_dict(torch.load(path, map_location="cpu", mmap=True))
    return model

# %%
check("04.4", load_large)

# %% [markdown]
# Back to [the lesson](../04_map_location.ipynb).
