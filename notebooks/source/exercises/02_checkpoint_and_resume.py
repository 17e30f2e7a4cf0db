# %% [markdown]
# # Exercises: 02 · Checkpoint and resume
#
# Write your answer in the cell below each task and run it, then run the cell with
# `check`. It says *correct*, *not attempted yet*, or *wrong* with what was tried, what
# was expected and what came. Each new mistake earns one more hint. If you give up,
# `solution("02.1")` in a cell of your own shows the answer.
#
# **Time:** 65 minutes. **Needs:** [the lesson](../02_checkpoint_and_resume.ipynb).

# %%
from course_utils.grading import check, solution

# %% [markdown]
# ## 02.1 Repair the tutorial
#
# *easy, 10 minutes*
#
# This `resume` is put together from well-known tutorials. It raises no error, and after it the loss
# never falls again. Repair it.
#
# `make_model()` returns a new model, `make_optimizer(parameters)` a new optimizer. The checkpoint
# holds `"model"` and `"optimizer"`, the `state_dict` of each. Return the model and the optimizer,
# **ready to train on** as if the run had never been stopped. All right but the mode is worth half.

# %%
def resume(make_model, make_optimizer, checkpoint):
    """Return the model and the optimizer, ready to train on."""
    model = make_model()
    optimizer = make_optimizer(model.parameters())

    model = make_model()
    model.load_state_dict(checkpoint["model"])
    optimizer.load_state_dict(checkpoint["optimizer"])
    model.eval()
    return model, optimizer

# %%
check("02.1", resume)

# %% [markdown]
# ## 02.2 Off by one
#
# *easy, 5 minutes*
#
# Two kinds of checkpoint lie in your team's folders. Epochs are counted from 0.
#
# - The old ones hold `"epoch"`, as many tutorials write it: the epoch that was **just finished**
#   when the file was saved.
# - The new ones hold `"completed"`: **how many** epochs are finished.
#
# Write `remaining_epochs(checkpoint, total)` for a run of `total` epochs. It returns the list of the
# epochs that are still to train, for both kinds of file: every one of them, and none twice.

# %%
def remaining_epochs(checkpoint, total):
    """Return the list of epochs that are still to train."""
    return list(range(checkpoint["epoch"], total))

# %%
check("02.2", remaining_epochs)

# %% [markdown]
# ## 02.3 Exact resume
#
# *medium, 20 minutes*
#
# A run has a `model`, with dropout and BatchNorm, an `optimizer` and a `scheduler`. Its training step
# draws random numbers from PyTorch, from NumPy (noise on the inputs) and from Python's `random`
# (flips).
#
# Complete `RunState`: `RunState(run).state_dict()` is written with `torch.save` in the middle of
# training. Later, in a new process, a new run is built, the file is read with
# `torch.load(weights_only=True)` and handed to `RunState(new_run).load_state_dict(state)`. The new
# run must then go on **to the last bit** as the old one did. Without the generators it is worth half.

# %%
class RunState:
    """All that decides the next training step of a run."""

    def __init__(self, run):
        self.run = run

    def state_dict(self):
        return {"model": self.run.model.state_dict()}

    def load_state_dict(self, state):
        self.run.model.load_state_dict(state["model"])

# %%
check("02.3", RunState)

# %% [markdown]
# ## 02.4 The middle of the epoch
#
# *hard, 20 minutes*
#
# Write the generator `batches(size, batch_size, epochs, seed, place=None)`. For each batch of the run
# it yields a pair: the list of the batch's indices, and a `place`.
#
# - Every epoch is a shuffle of `range(size)`, another one each epoch, decided by `seed` alone. The
#   last batch of an epoch may be smaller.
# - `place` is saved in the checkpoint after the batch was trained on. It must pass
#   `torch.load(weights_only=True)`.
# - Called with a saved `place`, in a new process and whatever the state of the global generators, it
#   yields exactly the batches that were still to come, of this epoch and of the later ones.

# %%
def batches(size, batch_size, epochs, seed, place=None):
    """Yield pairs of a batch's indices and the place after it."""
    raise NotImplementedError

# %%
check("02.4", batches)

# %% [markdown]
# ## 02.5 The learning rate after a resume
#
# *medium, 10 minutes*
#
# A run diverges. You go back to a checkpoint and want to go on from there with a learning rate that
# is, for example, half as large: now, and at every later step of the schedule.
#
# Write `resume_scaled(optimizer, scheduler, checkpoint, factor)`. The checkpoint holds `"optimizer"`
# and `"scheduler"`, the `state_dict` of each; optimizer and scheduler are freshly built. After it,
# every parameter group has `factor` times the learning rate it would have had, at once and after each
# later `scheduler.step()`. Nothing is returned.
#
# The schedule may be any of `LambdaLR`, `StepLR` and `CosineAnnealingLR`.

# %%
def resume_scaled(optimizer, scheduler, checkpoint, factor):
    """Continue from the checkpoint with `factor` times its learning rates."""
    raise NotImplementedError

# %%
check("02.5", resume_scaled)

# %% [markdown]
# Back to [the lesson](../02_checkpoint_and_resume.ipynb).
