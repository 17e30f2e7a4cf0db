# %% [markdown]
# # Exercises: 01 · state_dict anatomy
#
# Write your answer in the cell below each task and run it, then run the cell with
# `check`. It says *correct*, *not attempted yet*, or *wrong* with what was tried, what
# was expected and what came. Each new mistake earns one more hint. If you give up,
# `solution("01.1")` in a cell of your own shows the answer.
#
# **Time:** 63 minutes. **Needs:** [the lesson](../01_state_dict_anatomy.ipynb).

# %%
from course_utils.grading import check, solution

# %% [markdown]
# ## 01.1 Name the keys
#
# *easy, 5 minutes*
#
# Write `keys(module)`. It returns the names that a checkpoint of the module will hold: a sorted
# list of texts, such as `["0.bias", "0.weight"]`.
#
# Modules may have parameters, buffers of both kinds, and submodules of submodules.

# %%
def keys(module):
    """Return the sorted names that a checkpoint of the module holds."""
    raise NotImplementedError

# %%
check("01.1", keys)

# %% [markdown]
# ## 01.2 Keep the best
#
# *easy, 8 minutes*
#
# Write `keep_best(model, train_step, evaluate, steps)`. It calls `train_step()` as often as `steps`
# says, and after each call `evaluate()`, which returns an accuracy. It returns the model's
# `state_dict` **as it was** at the highest accuracy. Where two are equal, keep the earlier one.
#
# `train_step` changes the model in place, as every optimizer does.

# %%
def keep_best(model, train_step, evaluate, steps):
    """Return the state_dict at the highest accuracy."""
    best = None
    highest = float("-inf")
    for _ in range(steps):
        train_step()
        accuracy = evaluate()
        if accuracy > highest:
            highest = accuracy
            best = model.state_dict()
    return best

# %%
check("01.2", keep_best)

# %% [markdown]
# ## 01.3 Why 4 MB?
#
# *medium, 10 minutes*
#
# A checkpoint of a few small tensors takes 4 MB: some of them are windows on large storages, and
# `torch.save` writes whole storages.
#
# Write `slim(state)`. It returns a dictionary with the same names, values, dtypes and shapes, in
# which no tensor holds a byte that it does not show. Where two names stand for one and the same
# tensor (tied weights), they still share one memory, so that the file holds it once. That last part
# is worth half.

# %%
def slim(state):
    """Return the same tensors without the bytes that they do not show."""
    return {name: tensor.contiguous() for name, tensor in state.items()}

# %%
check("01.3", slim)

# %% [markdown]
# ## 01.4 Read without running
#
# *hard, 20 minutes*
#
# A colleague sends you a `.pt` file. Before anybody loads it, you want to know what its pickle would
# import: harmless rebuild functions, a class of a project that you do not have, or `posix.system`.
#
# Write `imports(path)` with the standard library alone (`zipfile`, `pickle`, `pickletools`). It
# returns the set of all globals of the file's `data.pkl`, the harmless ones too, as texts such as
# `"torch._utils._rebuild_tensor_v2"`. **Nothing of the file may run**, nothing may be imported. The
# file may have been renamed, and may be written with `pickle_protocol=4`.

# %%
def imports(path):
    """Return the set of globals that loading the file would import."""
    raise NotImplementedError

# %%
check("01.4", imports)

# %% [markdown]
# ## 01.5 Match by name
#
# *hard, 20 minutes*
#
# Between the save and today somebody changed the order of the model's layers. The model's weights
# are matched by name and load rightly; the optimizer's moments are matched by position and end up
# with the wrong parameters, without an error.
#
# Write `load_optimizer(optimizer, saved)`. The optimizer and the one that was saved were both built
# with `model.named_parameters()`, so every group of `saved["param_groups"]` has `"param_names"`
# beside `"params"`. After it,
#
# - every parameter has the state that was saved under **its name**; one that is new, or had no
#   state, has none,
# - the groups, the same in number and order, have the saved settings (learning rate, …) and their
#   own parameters,
# - `saved` is as it was, and **stays** so when the optimizer steps. `Optimizer.load_state_dict`
#   does not copy tensors that fit as they are. This last point is worth half.

# %%
def load_optimizer(optimizer, saved):
    """Load an optimizer's state by the names of its parameters."""
    optimizer.load_state_dict(saved)

# %%
check("01.5", load_optimizer)

# %% [markdown]
# Back to [the lesson](../01_state_dict_anatomy.ipynb).
