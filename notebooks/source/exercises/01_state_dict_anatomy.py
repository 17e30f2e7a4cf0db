# %% [markdown]
# # Exercises: 01 · state_dict anatomy
#
# Write your answer in the cell below each task and run it, then run the cell with
# `check`. It says *correct*, *not attempted yet*, or *wrong* with what was tried, what
# was expected and what came. Each wrong attempt earns a better hint. If you give up,
# `solution("01.1")` in a cell of your own shows the answer.
#
# **Time:** 13 minutes. **Needs:** [the lesson](../01_state_dict_anatomy.ipynb).

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
# Back to [the lesson](../01_state_dict_anatomy.ipynb).
