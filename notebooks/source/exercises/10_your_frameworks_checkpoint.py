# %% [markdown]
# # Exercises: 10 · Your framework's checkpoint
#
# Write your answer in the cell below each task and run it, then run the cell with
# `check`. It says *correct*, *not attempted yet*, or *wrong* with what was tried, what
# was expected and what came. Each new mistake earns one more hint. If you give up,
# `solution("10.1")` in a cell of your own shows the answer.
#
# **Time:** 60 minutes. **Needs:** [the lesson](../10_your_frameworks_checkpoint.ipynb).

# %%
from course_utils.grading import check, solution

# %% [markdown]
# ## 10.1 Where in the epoch?
#
# *easy, 10 minutes*
#
# Your framework tells the number of optimizer steps that were taken, and no more. Write
# `place(step, images, batch, accumulate)`: a tuple of the epochs that are complete, and the
# **batches** of the next one that are done and to be skipped.
#
# An epoch has `images` images in batches of `batch`; the last batch may be smaller. An optimizer step
# is taken after every `accumulate` batches, and at the end of an epoch, also after fewer.

# %%
def place(step, images, batch, accumulate):
    """Return the complete epochs, and the batches to skip in the next one."""
    return divmod(step, images // batch)

# %%
check("10.1", place)

# %% [markdown]
# ## 10.2 Out of the wrapper
#
# *medium, 12 minutes*
#
# In a checkpoint of Lightning, `checkpoint["state_dict"]` holds the whole LightningModule. Write
# `weights_of(checkpoint, name)`: the `state_dict` of the one module that stood in the attribute
# `name`, under the module's own names, in the same order, as a dictionary.
#
# - `torch.compile` may have wrapped the module or a part of it: a part `_orig_mod` of a name belongs
#   to the wrapper and goes.
# - Other modules, such as `model_ema` beside `model`, stay out.
# - Two names of one tensor stay two names of one tensor: nothing is copied.
# - No such module: `KeyError`.

# %%
def weights_of(checkpoint, name):
    """Return the state_dict of the module in the attribute `name`."""
    return {key.replace(name + ".", ""): value for key, value in checkpoint["state_dict"].items()}

# %%
check("10.2", weights_of)

# %% [markdown]
# ## 10.3 Draw as if nothing had happened
#
# *hard, 20 minutes*
#
# Write the generator `rest_of_epoch(loader, skip, random)`. It yields the batches of an epoch that
# were still to come when the run was saved: all but the first `skip`. The loader's order is the right
# one already.
#
# But `random`, the `torch.get_rng_state()` of the save, must count again at the right moment. To
# begin an epoch draws from the global generator, and this dataset draws for every image that is
# fetched. The run that never stopped drew from the moment of the save on: for the next batch, for the
# dropout of that step, for the batch after it, and so on.
#
# - With `skip == 0` the save was made before the epoch began, so what the beginning draws is drawn
#   again.
# - With all batches skipped nothing is yielded, and the generator is as `random` says.

# %%
import torch


def rest_of_epoch(loader, skip, random):
    """Yield the batches that are still to come; draw as the run that never stopped."""
    torch.set_rng_state(random)
    for number, batch in enumerate(loader):
        if number >= skip:
            yield batch

# %%
check("10.3", rest_of_epoch)

# %% [markdown]
# ## 10.4 Judge a resume
#
# *medium, 18 minutes*
#
# Three lists of batches, each a list of image numbers: `straight`, all batches of the run that was
# never stopped; `before`, those of the stopped run up to its save; `after`, those that the resumed
# process took. Write `judge_resume(straight, before, after, per_epoch)`, where `per_epoch` is the
# number of batches of an epoch. It returns a dictionary:
#
# - `"alike"`: how many batches of `after` hold the same images in the same order as the batch of the
#   straight run at that place,
# - `"twice"`: how many images were trained on more than once in the epoch that the save interrupted,
# - `"never"`: how many were not trained on in that epoch.
#
# That epoch began in `before` and ended in `after`. However the resumed process ended it, the epochs
# after it are whole. A save at the end of an epoch interrupts the next one.

# %%
def judge_resume(straight, before, after, per_epoch):
    """Return how many batches are alike, and how many images came twice and never."""
    alike = sum(a == b for a, b in zip(straight, after))
    return {"alike": alike, "twice": 0, "never": 0}

# %%
check("10.4", judge_resume)

# %% [markdown]
# Back to [the lesson](../10_your_frameworks_checkpoint.ipynb).
