# %% [markdown]
# # Exercises: 07 · Checkpoints that survive
#
# Write your answer in the cell below each task and run it, then run the cell with
# `check`. It says *correct*, *not attempted yet*, or *wrong* with what was tried, what
# was expected and what came. Each new mistake earns one more hint. If you give up,
# `solution("07.1")` in a cell of your own shows the answer.
#
# **Time:** 72 minutes. **Needs:** [the lesson](../07_checkpoints_that_survive.ipynb).

# %%
from course_utils.grading import check, solution

# %% [markdown]
# ## 07.1 A save that survives
#
# *hard, 25 minutes*
#
# Write `save(path, data)`: it writes bytes to a file, over an older one if there is one, so that a
# crash at any moment leaves the old content or the new one, whole. A process that is killed can clean
# up nothing; but when `save` raises an error, or returns, nothing else may be left in the folder.
#
# When it returns, the new content must survive a power cut.

# %%
def save(path, data):
    """Write bytes to a file so that a crash at any moment does no harm."""
    with open(path, "wb") as file:
        file.write(data)

# %%
check("07.1", save)

# %% [markdown]
# ## 07.2 The newest that is whole
#
# *medium, 15 minutes*
#
# A run left checkpoints called `step-8.pt`, `step-10.pt`, … in a folder, by `torch.save`. Some may
# be cut off, and in some a bit may have flipped. Write `newest_whole(folder)`: the path of the
# checkpoint with the highest step whose every record is as it was saved, or `None` if there is none.
#
# Other files may lie in the folder. Files copied from another disk have times that mean nothing.

# %%
def newest_whole(folder):
    """Return the path of the newest checkpoint that is undamaged, or None."""
    files = sorted(folder.glob("step-*.pt"))
    return files[-1] if files else None

# %%
check("07.2", newest_whole)

# %% [markdown]
# ## 07.3 Keep the right ones
#
# *medium, 12 minutes*
#
# Write `to_remove(checkpoints, keep_last, keep_best)`. `checkpoints` is a list of pairs `(step,
# accuracy)`, in any order; the accuracy is `None` where nothing was measured. Return the steps to
# remove, sorted.
#
# Keep the `keep_last` newest, and besides them the `keep_best` most accurate of **all** that were
# measured. Of two that are equally accurate, the later one is better. A checkpoint may be both.
# Where that would be none, keep the newest: never remove all of them.

# %%
def to_remove(checkpoints, keep_last, keep_best):
    """Return the sorted steps of the checkpoints to remove."""
    raise NotImplementedError

# %%
check("07.3", to_remove)

# %% [markdown]
# ## 07.4 A snapshot for the background
#
# *hard, 20 minutes*
#
# A checkpoint that is written in the background must not change while training goes on. Write
# `snapshot(state)`: a copy of a nested state (dictionaries, lists, tuples, tensors, numbers, texts)
# that shares no memory with it.
#
# Tensors that share memory in the state (tied weights) share memory in the copy, so that nothing is
# copied twice. Tensors of the copy ask for no gradient. Dictionaries become plain dictionaries.

# %%
def snapshot(state):
    """Return a copy of a nested state that training cannot change."""
    return dict(state)

# %%
check("07.4", snapshot)

# %% [markdown]
# Back to [the lesson](../07_checkpoints_that_survive.ipynb).
