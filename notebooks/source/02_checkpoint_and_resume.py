# %% [markdown]
# # 02 · Checkpoint and resume
#
# A run that takes a week will be stopped: by a crash, a full disk, somebody else's turn on the
# machine. Going on from a file is easy to get nearly right. *Nearly right* means: the loss looks
# fine, and the model is another one.
#
# After this lesson you will be able to
#
# - list everything that decides the next training step, and save all of it,
# - continue in the middle of an epoch, in a new process, **to the last bit**,
# - test a resume so that a mistake cannot hide, and keep the right checkpoints.
#
# **Time:** 55 minutes. **Needs:** [01 state_dict anatomy](01_state_dict_anatomy.ipynb).

# %% [markdown]
# **Do you remember?** Answer first, then open.
#
# <details><summary>What does <code>state_dict()</code> copy? (01)</summary>
#
# Nothing. Its tensors are the model's own.
# </details>
# <details><summary>How does an optimizer know which moments belong to which parameter? (01)</summary>
#
# By position only. Reorder the parameters, and the moments are swapped without a word.
# </details>
# <details><summary>Which is the fastest way to make a checkpoint of 4 MB with 16 useful bytes? (01)</summary>
#
# Save a slice. `torch.save` writes the whole storage; `.clone()` first.
# </details>

# %%
import copy
import random
from itertools import islice, pairwise

import numpy as np
import torch
from torch import nn

from course_utils.lessons import lesson, plots
from course_utils.lessons.data import digits
from course_utils.lessons.models import MLP
from course_utils.lessons.training import digits_run, evaluate, steps
from course_utils.resume import RngState, differences, seed_everything

scratch = lesson.start("02_checkpoint_and_resume")

# %% [markdown]
# ## 1. The general checkpoint, and what it lacks
#
# Most tutorials save this dictionary:

# %%
model = MLP()
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=10)

torch.save(
    {
        "epoch": 3,
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "scheduler": scheduler.state_dict(),
        "loss": 0.42,
    },
    scratch / "general.pt",
)
print(list(torch.load(scratch / "general.pt")))

# %% [markdown]
# Loading it has an order: **build** the model, the optimizer over its parameters, the scheduler over
# the optimizer; **then** load all three. Two well-known mistakes live right here.
#
# The first: the epoch. Does 3 mean that epoch 3 is done, or that it is the one to do next?
#
# **Predict.** A run of 5 epochs, counted from 0, saves `epoch` at the end of each epoch and is
# killed after epoch 3. It resumes with `for epoch in range(checkpoint["epoch"], 5)`. Which epochs
# does it train?
#
# <details><summary>A. 0, 1, 2, 3, then 4.</summary>
#
# That needs `range(checkpoint["epoch"] + 1, 5)`, or a name that says "completed".
# </details>
# <details><summary>B. 0, 1, 2, 3, then 3 again, and 4.</summary>
#
# Right. The saved 3 is the epoch that is *done*; the loop starts with it.
# </details>
# <details><summary>C. 0, 1, 2, 3, and nothing more.</summary>
#
# It would be so with `range(checkpoint["epoch"] + 2, 5)`: the opposite slip, and as silent.
# </details>

# %%
done = [0, 1, 2, 3]
saved_epoch = done[-1]
print("range(saved, 5):    ", done, "+", list(range(saved_epoch, 5)))
print("range(saved + 1, 5):", done, "+", list(range(saved_epoch + 1, 5)))

# %% [markdown]
# Save a name that cannot be misread. In this course `epoch` and `step` count what is **completed**,
# so the next one has just that number.
#
# The second: the optimizer must be built over the parameters of the model **that will train**. Here
# is the mistake, from a well-known tutorial: the model is made anew after the optimizer.

# %%
checkpoint = torch.load(scratch / "general.pt")
old_model = MLP()
optimizer = torch.optim.Adam(old_model.parameters(), lr=0.01)
model = MLP()  # a new one, and the optimizer knows nothing of it
model.load_state_dict(checkpoint["model"])
optimizer.load_state_dict(checkpoint["optimizer"])

before = copy.deepcopy(model.state_dict())
model(torch.rand(8, 1, 8, 8)).square().mean().backward()
optimizer.step()
changed = differences(before, model.state_dict())
print(f"tensors of the model that a step has changed: {len(changed)} of {len(before)}")
assert not differences(before, model.state_dict())

# %% [markdown]
# No error, and no training. A test that saves, loads and compares the weights passes: **a round trip
# is not a resume.** The test that counts is: train on, and compare with a run that was never stopped.
#
# **Try it:** build the optimizer over the *new* model, and run the cell again.

# %% [markdown]
# ## 2. Leave each piece out, and look
#
# We take the run of lesson 00: a small CNN with dropout and BatchNorm, Adam, a cosine schedule, an
# average of the weights (EMA), shuffled and slightly shifted digits. It stops in the middle of its
# second epoch, at step 65, and we keep its whole state. Then it goes on: that is what a resumed run
# must repeat.

# %%
original = digits_run(epochs=2)
list(steps(original))  # the first epoch: 45 steps
list(islice(steps(original), 20))  # and 20 steps of the second
saved = copy.deepcopy(original.state.state_dict())
straight = [loss.item() for loss, _ in steps(original)]
print("saved at step", saved["step"], "and went on for", len(straight), "steps")
print("pieces:", *(name for name in saved if name not in ("epoch", "step")))

# %% [markdown]
# `TrainState` gathers the pieces. `rng` is the state of every random number generator, `sampler` the
# place in the data.
#
# Now a new run gets all pieces but one. We seed its generators differently, so that nothing agrees
# by chance.
#
# **Predict.** Of optimizer, scheduler, random numbers, sampler, BatchNorm's statistics and the
# averaged weights (EMA): which, left out, does *not* show in any training loss?
#
# <details><summary>A. None: each changes the loss, or it would not be state.</summary>
#
# So one thinks, and so one tests. Two of the six are only *read* outside of training.
# </details>
# <details><summary>B. Only the EMA.</summary>
#
# The EMA is one: it is written in training and read later. There is a second.
# </details>
# <details><summary>C. BatchNorm's statistics and the EMA.</summary>
#
# Right. In training, BatchNorm uses the mean of the batch. Every loss stays as it was, to the
# last bit, and the model you ship is another one.
# </details>
# <details><summary>D. The scheduler, since the optimizer already has the learning rate.</summary>
#
# The optimizer has *this* step's rate. The schedule decides the next ones, and starts at the
# beginning.
# </details>


# %%
def resume(leave_out=()):
    """Continue from `saved`, with some pieces as in a fresh run."""
    run = digits_run(epochs=2)
    seed_everything(99)
    state, fresh = copy.deepcopy(saved), copy.deepcopy(run.state.state_dict())
    for piece in leave_out:
        if piece == "BatchNorm statistics":
            running = {name: t for name, t in fresh["model"].items() if "running" in name}
            state["model"].update(running)
        elif piece == "optimizer":  # its moments; the settings are kept
            state["optimizer"]["state"] = fresh["optimizer"]["state"]
        else:
            state[piece] = fresh[piece]
    run.state.load_state_dict(state)
    return run, [loss.item() for loss, _ in steps(run)]


LEFT_OUT = ["nothing", "optimizer", "scheduler", "rng", "sampler", "BatchNorm statistics", "ema"]
resumed = {
    name: resume(() if name == "nothing" else (name,))
    for name in lesson.progress(LEFT_OUT, "resuming without")
}


# %% tags=["nbval-ignore-output"]
def largest(losses):
    """The largest difference to the straight run's losses; it has fewer steps in common
    where the place in the data was lost."""
    return max(abs(a - b) for a, b in zip(straight, losses, strict=False))


def row(name):
    run, losses = resumed[name]
    differing = differences(original.state.state_dict(), run.state.state_dict())
    model_differs = sum(path.startswith("model.") for path in differing)
    accuracy = evaluate(run.state.model, digits(train=False))
    return name, f"{largest(losses):.2f}", model_differs, len(differing), f"{accuracy:.3f}"


headers = [
    "left out",
    "largest loss difference",
    "model tensors that differ",
    "all that differs",
    "test accuracy",
]
lesson.show_table([row(name) for name in LEFT_OUT], headers)

# %% jupyter={"source_hidden": true}
fig, axes = plots.figure(8, 5.2, nrows=2, ncols=3, sharex=True, sharey=True)
for axis, name in zip(axes.flat, LEFT_OUT[1:], strict=True):
    losses = resumed[name][1][: len(straight)]
    axis.plot(range(66, 66 + len(straight)), straight, color=plots.BLUE, lw=4, alpha=0.35)
    axis.plot(range(66, 66 + len(losses)), losses, color=plots.RED, lw=1.2)
    axis.set_title(f"without {name}", fontsize=10)
fig.supxlabel("optimizer step")
fig.supylabel("training loss (nats)")
fig.legend(["never stopped", "resumed"], loc="outside upper center", ncols=2)
plots.show(
    fig,
    alt="Six small plots of training loss against step after the resume. Without optimizer, "
    "scheduler, rng or sampler the resumed line leaves the straight one: most without the sampler, "
    "then without rng, least without the optimizer's moments. Without BatchNorm statistics or EMA the lines coincide.",
    caption="Resumed runs with one piece missing, against the run that was never stopped. "
    "The last two plots look perfect, and are not.",
)
for name in LEFT_OUT:
    pairs = zip(straight, resumed[name][1], strict=False)
    other = sum(a != b for a, b in pairs)
    common = min(len(straight), len(resumed[name][1]))
    print(f"without {name:21} losses that differ in any bit: {other:2} of {common}")
    changed = differences(original.state.state_dict(), resumed[name][0].state.state_dict())
    assert (other == 0) == (name in ("nothing", "BatchNorm statistics", "ema"))
    assert bool(changed) == (name != "nothing")

# %% [markdown]
# Look at the accuracy in the table, too. Without the scheduler it is **higher** than without any
# mistake. Is that a reason to lose the schedule? No: this run is short, a cosine that starts anew keeps
# the learning rate large for longer, and one run with one seed says nothing about what is better. What it
# says is that the resumed run is *another experiment*, whose result you would report under the name of the
# first. A mistake that improves a number is the hardest to find.

# %% [markdown]
# ### Why comparing losses is not enough
#
# In training, BatchNorm uses the mean of the *batch*; the running statistics are only written, and
# first read in `eval()`. So a lost buffer leaves every training loss intact and spoils the model you
# ship. Compare **states**, buffers included. `differences` does, bit for bit.

# %%
exact, spoiled = (
    evaluate(resumed[name][0].state.model, digits(train=False))
    for name in ("nothing", "BatchNorm statistics")
)
assert resumed["nothing"][1] == resumed["BatchNorm statistics"][1]
assert exact - spoiled > 0.2

# %% tags=["nbval-ignore-output"]
print(
    f"test accuracy {exact:.2f}, without BatchNorm's statistics {spoiled:.2f}: the same training losses"
)

# %%
found = differences(
    original.state.state_dict(), resumed["BatchNorm statistics"][0].state.state_dict()
)
print(*found[:4], "…", sep="\n")
assert found and all("running" in path or path.startswith("ema") for path in found)

# %%
from course_utils.resume import TrainState

lesson.show_source(TrainState.state_dict, TrainState.load_state_dict)

# %% [markdown]
# Before it changes anything, `TrainState` checks that every piece is there and fits. Half a resume
# would be worse than none.

# %%
from course_utils.errors import MismatchedCheckpointError

incomplete = {name: piece for name, piece in saved.items() if name != "rng"}
run = digits_run()
with lesson.expect_error(MismatchedCheckpointError):
    run.state.load_state_dict(incomplete)

# %% [markdown]
# **Try it:** leave out two pieces at once, `resume(("rng", "ema"))`. Which one shows in the losses?

# %% [markdown]
# ## 3. Random numbers
#
# Dropout, augmentation and shuffling draw from generators. There are at least three global ones:
# Python's, NumPy's, PyTorch's, and one more for each GPU. Each has a state, and the next number
# follows from it.
#
# NumPy's own `get_state()` holds an array, and `torch.load` refuses it: `weights_only=True` knows
# tensors, numbers, texts and containers.
#
# **Predict.** A checkpoint holds `np.random.get_state()`, which contains an array. Who complains:
# `torch.save`, or `torch.load`?
#
# <details><summary>A. <code>torch.save</code>: it writes only what it can read again.</summary>
#
# It writes whatever pickle can. It never looks at what will be allowed to load.
# </details>
# <details><summary>B. Neither: NumPy arrays are data.</summary>
#
# An array's pickle calls a function of NumPy to build it, and that one is not on torch's short
# list.
# </details>
# <details><summary>C. Only <code>torch.load</code>.</summary>
#
# Right. You find out when you need the file. So load each kind of checkpoint once before you
# trust it.
# </details>
# <details><summary>D. Both.</summary>
#
# `torch.save` does refuse some things, a lambda for example, since pickle cannot write it. An
# array is no problem for pickle.
# </details>

# %%
import pickle

torch.save({"numpy": np.random.get_state()}, scratch / "numpy.pt")
with lesson.expect_error(pickle.UnpicklingError, match="Unsupported global"):
    torch.load(scratch / "numpy.pt")

# %% [markdown]
# The way out is to store plain types, and tensors where there are many numbers. And one more trap:
# `map_location="cuda"` moves *all* tensors of a file, also the generator's state, which must stay on
# the CPU. Here the device `meta` plays the GPU:

# %%
torch.save({"torch": torch.get_rng_state()}, scratch / "rng.pt")
moved = torch.load(scratch / "rng.pt", map_location="meta")["torch"]
with lesson.expect_error(
    TypeError, RuntimeError, match="RNG state must be a torch.ByteTensor|meta"
):
    torch.set_rng_state(moved)

# %%
lesson.show_source(RngState)

# %%
seed_everything(0)
torch.save(RngState().state_dict(), scratch / "all.pt")
expected = (random.random(), np.random.rand(), torch.rand(1).item())
seed_everything(1234)
RngState().load_state_dict(torch.load(scratch / "all.pt"))
again = (random.random(), np.random.rand(), torch.rand(1).item())
for name, first, second in zip(("Python", "NumPy", "PyTorch"), expected, again, strict=True):
    print(f"{name:8} {first:.4f} when saved, {second:.4f} again")
assert again == expected

# %% [markdown]
# **Try it:** draw a number from each generator twice, and save between the two.

# %% [markdown]
# ## 4. The place in the data
#
# A shuffling `DataLoader` draws the order of an epoch when the epoch starts.
#
# **Predict.** A run shuffles with the global generator. A new process sets the same seed and goes
# on with epoch 3. Which order does it get?
#
# <details><summary>A. That of epoch 3: the seed is the same.</summary>
#
# The seed sets the *beginning* of the stream. Epoch 3's order came after three others had been
# drawn.
# </details>
# <details><summary>B. That of epoch 0.</summary>
#
# Right. A fresh generator starts from the beginning, whatever the number of the epoch. These
# images are seen again, others later than planned.
# </details>
# <details><summary>C. A random one, as no process repeats another's shuffle.</summary>
#
# With the same seed it is exactly repeatable. It is only not the one you want.
# </details>

# %%
from torch.utils.data import DataLoader, TensorDataset

numbers = TensorDataset(torch.arange(8))


def one_epoch(loader):
    return torch.cat([batch for (batch,) in loader]).tolist()


torch.manual_seed(0)
loader = DataLoader(numbers, batch_size=2, shuffle=True)
orders = [one_epoch(loader) for epoch in range(4)]
torch.manual_seed(0)  # a new process, "resuming at epoch 3"
resumed_order = one_epoch(DataLoader(numbers, batch_size=2, shuffle=True))
print("epoch 3 was:      ", orders[3])
print("the new one reads:", resumed_order, "which was epoch", orders.index(resumed_order))
assert resumed_order == orders[0]

# %% [markdown]
# `ResumableSampler` computes the order from two numbers, the seed and the epoch, and starts at a
# position. There is nothing random to save.

# %%
from course_utils.resume import ResumableSampler

sampler = ResumableSampler(8, seed=5)
sampler.next_epoch()
whole = list(sampler)
sampler.advance(3)
state = sampler.state_dict()
fresh = ResumableSampler(8)
fresh.load_state_dict(state)
print("state:          ", state)
print("the whole epoch:", whole)
print("the rest of it: ", list(fresh))
assert list(fresh) == whole[3:]

# %% [markdown]
# What does it cost to lose the place? Say 20 steps of 32 images are done when the run is killed. It can
# go on where it was, finish the epoch's remaining steps in another order, or start the epoch again.
# We count how often each image is trained on in that epoch.

# %%
sampler = ResumableSampler(1437)
done, rest = sampler.order()[: 20 * 32], sampler.order()[20 * 32 :]
ways = {
    "at its place": rest,
    "in another order": ResumableSampler(1437, seed=1).order()[: len(rest)],
    "from the epoch's start": sampler.order(),
}
seen = {
    name: torch.cat([done, indices]).bincount(minlength=1437).bincount(minlength=3).tolist()
    for name, indices in ways.items()
}
for name, (never, once, twice) in seen.items():
    print(f"{name:22}  never: {never:4}  once: {once:4}  twice: {twice:4}")
assert seen["at its place"] == [0, 1437, 0]

# %% jupyter={"source_hidden": true}
fig, axis = plots.figure(7.5, 2.8)
left = torch.zeros(3)
for times, color in enumerate((plots.RED, plots.BLUE, plots.ORANGE)):
    counts = torch.tensor([counts[times] for counts in seen.values()])
    bars = axis.barh(
        list(seen), counts, left=left, color=color, label=["never", "once", "twice"][times]
    )
    axis.bar_label(
        bars, [f"{n:,}" if n else "" for n in counts.tolist()], label_type="center", color="white"
    )
    left += counts
axis.invert_yaxis()
axis.grid(False)
axis.set(xlabel="images of one epoch", ylabel="the run goes on")
axis.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3)
plots.show(
    fig,
    alt="Three horizontal bars of 1,437 images. "
    + " ".join(
        f"Going on {name}: {never} never, {once} once, {twice} twice."
        for name, (never, once, twice) in seen.items()
    ),
    caption="Only the run that knows its place trains on every image exactly once.",
)

# %% [markdown]
# Why does the *training loop* report progress, with `advance`, and not the sampler itself? Because
# the workers of a `DataLoader` fetch ahead.


# %%
class Counting(ResumableSampler):
    """Counts what it hands out, as many samplers do."""

    handed_out = 0

    def __iter__(self):
        for index in super().__iter__():
            self.handed_out += 1
            yield index


counting = Counting(8)
loader = DataLoader(numbers, batch_size=1, sampler=counting, num_workers=2)
next(iter(loader))
print("trained on: 1, handed out:", counting.handed_out)
assert counting.handed_out > 1

# %% [markdown]
# Two more traps of the loader, both seen in the wild:
#
# - **Starting to iterate draws one random number**, from the global generator unless you give the
#   loader its own. A resumed run starts to iterate once more often, so its dropout masks would differ
#   from there on. Hence `DataLoader(..., generator=torch.Generator())`.
# - **Workers have generators of their own**, which nobody saves. Our augmentation draws its numbers from
#   `(seed, epoch, index)`, so that it does not matter which process draws them.


# %%
def next_number(**options):
    """What the global generator gives after a loader has begun to iterate."""
    torch.manual_seed(0)
    next(iter(DataLoader(numbers, **options)))
    return torch.rand(1).item()


torch.manual_seed(0)
undisturbed = torch.rand(1).item()
print(f"the next number without a loader:            {undisturbed:.4f}")
print(
    f"after a loader with a generator of its own:  {next_number(generator=torch.Generator()):.4f}"
)
print(f"after a loader without:                      {next_number():.4f}")
assert next_number(generator=torch.Generator()) == undisturbed != next_number()

# %% [markdown]
# **Try it:** `num_workers=2` for the counting sampler above, then 4. How many indices were handed out?

# %% [markdown]
# ## 5. Schedule, scaler, average
#
# ### The scheduler does not set the learning rate when loaded
#
# **Predict.** We load the scheduler's state and not the optimizer's. Which learning rate has the
# next step?
#
# <details><summary>A. The one of the schedule, as saved: that is what the scheduler is
# for.</summary>
#
# It *knows* that rate, and `get_last_lr()` says so. But it writes into the optimizer only when it
# steps.
# </details>
# <details><summary>B. The one the optimizer was built with.</summary>
#
# Right. Two objects, two states: load both.
# </details>
# <details><summary>C. An error: <code>initial_lr</code> is missing.</summary>
#
# That one comes when you pass `last_epoch=3` to a scheduler of a fresh optimizer, further down.
# </details>


# %%
def parts():
    model = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    return optimizer, torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.5)


optimizer, scheduler = parts()
for _ in range(3):
    optimizer.step()
    scheduler.step()
states = optimizer.state_dict(), scheduler.state_dict()

optimizer, scheduler = parts()
scheduler.load_state_dict(states[1])
print(
    "scheduler says:", scheduler.get_last_lr(), " optimizer uses:", optimizer.param_groups[0]["lr"]
)
assert optimizer.param_groups[0]["lr"] == 1.0
optimizer.load_state_dict(states[0])
print(
    "with both:     ", scheduler.get_last_lr(), " optimizer uses:", optimizer.param_groups[0]["lr"]
)
assert optimizer.param_groups[0]["lr"] == 0.125

# %% [markdown]
# To continue with **another** learning rate, "load both and override last" is the usual advice. Does it hold?
# We override, and let the schedule take one more step.

# %%
from torch.optim import lr_scheduler

SCHEDULES = {
    "StepLR": lambda optimizer: lr_scheduler.StepLR(optimizer, 10),
    "ExponentialLR": lambda optimizer: lr_scheduler.ExponentialLR(optimizer, 0.9),
    "CosineAnnealingLR": lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, 100),
    "LambdaLR": lambda optimizer: lr_scheduler.LambdaLR(optimizer, lambda step: 0.9**step),
}


def after_override(make, base_too):
    """The rate one step after 1.0 was replaced by 0.01, in the groups only or in the schedule, too."""
    optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=1.0)
    schedule = make(optimizer)
    for _ in range(3):
        optimizer.step()
        schedule.step()
    for group in optimizer.param_groups:
        group["lr"] = 0.01
        if base_too:
            group["initial_lr"] = 0.01
    if base_too:
        schedule.base_lrs = [0.01]
    optimizer.step()
    schedule.step()
    return optimizer.param_groups[0]["lr"]


rows = [
    (name, *(f"{after_override(make, too):.4f}" for too in (False, True)))
    for name, make in SCHEDULES.items()
]
lesson.show_table(rows, ["schedule", "override in the groups", "and in base_lrs"])
assert after_override(SCHEDULES["LambdaLR"], False) > 0.6

# %% [markdown]
# Three schedules go on from the rate they find. `LambdaLR` computes each rate anew from its `base_lrs`, and
# brings the old one back. So override both. (LambdaLR does not save its lambda either: build it in code.)
# A cosine holds one rate more: `eta_min`, at which it ends. It is 0 here. Where it is not, a run that is to go
# on with half the rate needs half of it, too.
#
# Faking progress with `last_epoch` instead of loading the state fails with an error everybody meets once:

# %%
model = nn.Linear(2, 2)
with lesson.expect_error(KeyError, match="initial_lr"):
    torch.optim.lr_scheduler.StepLR(torch.optim.SGD(model.parameters(), lr=1.0), 10, last_epoch=3)

# %% [markdown]
# ### The gradient scaler
#
# Mixed precision multiplies the loss by a scale, so that small gradients do not vanish in 16 bits. If
# a gradient overflows, the scaler skips the step and halves the scale. It starts at 65,536.
#
# **Predict.** A mixed-precision run resumes without its scaler's state. What happens in the first
# steps?
#
# <details><summary>A. Nothing: the scaler adapts before the first step.</summary>
#
# It adapts *by* failing steps: there is no other way for it to learn the scale.
# </details>
# <details><summary>B. They overflow and are skipped: the batch is read, the loss printed, the
# weights stay.</summary>
#
# Right. The scale starts at 65,536 again and is halved with each skipped step.
# </details>
# <details><summary>C. The weights become NaN.</summary>
#
# That is what the scaler prevents: it looks at the gradients before the optimizer may step.
# </details>
# <details><summary>D. Gradients vanish until the scale has grown.</summary>
#
# A fresh scale is too large, not too small.
# </details>


# %%
def scales_of(model, optimizer, scaler, count):
    """Train in float16, and return the scale at the start and after each step."""
    images, labels = (tensor[:64] for tensor in digits().tensors)
    scales = [scaler.get_scale()]
    for _ in range(count):
        with torch.autocast("cpu", dtype=torch.float16):
            loss = nn.functional.cross_entropy(model(images), labels, reduction="sum")
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        scales.append(scaler.get_scale())
    return scales


def skipped(scales):
    return sum(after < before for before, after in pairwise(scales))


torch.manual_seed(0)
model = MLP()
optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
scaler = torch.amp.GradScaler("cpu")
print("a new run:          first scale", int(scales_of(model, optimizer, scaler, 10)[0]))
kept, trained = scaler.state_dict(), copy.deepcopy(model.state_dict())

resumed_skips = {}
for name in ("with its state", "without"):
    model.load_state_dict(trained)
    scaler = torch.amp.GradScaler("cpu")
    if name == "with its state":
        scaler.load_state_dict(kept)
    resumed_skips[name] = skipped(scales_of(model, optimizer, scaler, 8))
    print(f"resumed {name + ':':15} steps skipped: {resumed_skips[name] or 'none'}")
assert resumed_skips["with its state"] == 0 < resumed_skips["without"]

# %% [markdown]
# A *disabled* scaler saves an empty dictionary, which an enabled one refuses:

# %%
scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
print("enabled:", *(f"{name} = {value}" for name, value in scaler.state_dict().items()), sep="\n  ")
disabled = torch.amp.GradScaler("cpu", enabled=False).state_dict()
print("disabled:", disabled)
with lesson.expect_error(RuntimeError, match="empty"):
    scaler.load_state_dict(disabled)

# %% [markdown]
# ### The average of the weights
#
# Many runs evaluate an exponential moving average (EMA) of the weights. It must be saved **beside** the
# raw weights, with the count of updates. If only the average is saved, or the two are swapped, training
# continues from another point. And by default PyTorch's `AveragedModel` averages parameters only:
#
# **Predict.** `AveragedModel` with its default `use_buffers=False` averages the parameters. What
# are its buffers, such as BatchNorm's running mean?
#
# <details><summary>A. Averages, too.</summary>
#
# That needs `use_buffers=True`, which is not the default.
# </details>
# <details><summary>B. Copies of the model's newest ones.</summary>
#
# Right: averaged weights with the statistics of the *unaveraged* model. Nobody has evaluated this
# mixture.
# </details>
# <details><summary>C. What they were when the average was made.</summary>
#
# That was the behaviour of old releases. Today they are copied at each update.
# </details>

# %%
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

torch.manual_seed(0)
norm = nn.BatchNorm1d(1)
averages = {
    use: AveragedModel(norm, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=use)
    for use in (False, True)
}
for _ in range(10):
    norm(torch.randn(16, 1) + 5)
    for average in averages.values():
        average.update_parameters(norm)
print(f"the model:         running mean {norm.running_mean.item():.2f}")
for use, average in averages.items():
    mean = average.module.running_mean.item()
    print(
        f"use_buffers={use!s:5}:  running mean {mean:.2f}, after {int(average.n_averaged)} updates"
    )
assert torch.equal(averages[False].module.running_mean, norm.running_mean)
assert averages[True].module.running_mean < norm.running_mean

# %% [markdown]
# So pass `use_buffers=True`, or recompute the statistics with `torch.optim.swa_utils.update_bn`
# before you evaluate.
#
# **Try it:** resume the scaler's run with `init_scale=2.0**10`. How many steps are skipped then?

# %% [markdown]
# ## 6. The real test: SIGKILL in the middle of an epoch
#
# Same process, same memory: a resume inside a notebook may work by luck. So: a process of its own,
# killed inside step 70 (the second epoch goes from 46 to 90), and a **new** process that goes on, with
# two data workers this time, which must not matter.
#
# **Predict.** It saves every 22 steps and after each epoch (45 steps), and is killed inside step
# 70. From which step does the new process go on?
#
# <details><summary>A. From 45: only the epoch's end is a clean point.</summary>
#
# With the place in the data saved, any step is.
# </details>
# <details><summary>B. From 66.</summary>
#
# Right, the last multiple of 22 before 70. Steps 67 to 69 were done and are done again; step 70
# was not finished.
# </details>
# <details><summary>C. From 69, the last finished step.</summary>
#
# It was finished, but not saved.
# </details>
# <details><summary>D. From 70.</summary>
#
# At step 70 the weights had changed in a memory that is gone.
# </details>

# %%
import shutil

from course_utils.lessons.training import train_in_new_process

for name in ("straight", "killed"):
    shutil.rmtree(scratch / name, ignore_errors=True)
print("straight:", train_in_new_process(scratch / "straight", "--epochs=2"))
print("killed:  ", train_in_new_process(scratch / "killed", "--epochs=2", kill_at=70))
print("saved at:", *sorted(path.name[5:13] for path in (scratch / "killed").glob("*.pt")))
print("resumed: ", train_in_new_process(scratch / "killed", "--epochs=2", "--workers=2"))

# %%
from course_utils.checkpoint import CheckpointManager
from course_utils.lessons.steplog import read_log

logs = [read_log(scratch / name) for name in ("straight", "killed")]
states = [CheckpointManager(scratch / name).restore() for name in ("straight", "killed")]
checks = {"batch order": [[entry["images"] for entry in log] for log in logs]}
checks["losses"] = [[entry["loss"] for entry in log] for log in logs]
table = []
for name, (a, b) in checks.items():
    table.append((name, f"{len(a)} steps", sum(x != y for x, y in zip(a, b, strict=True))))
for name in ("model", "ema", "optimizer", "scheduler", "rng", "sampler"):
    a, b = (state[name] for state in states)
    table.append((name, f"{len(a)} entries", len(differences(a, b))))
lesson.show_table(table, ["compared", "of", "that differ in any bit"])
assert not any(differing for *_, differing in table)

# %% [markdown]
# The newest file before the kill was at step 66, inside the second epoch. The model's entry compares
# weights and buffers.
#
# **Try it:** kill inside step 47, just after an epoch's end. From which step does it go on?

# %% [markdown]
# ## 7. To the last bit, when?
#
# This lesson says "to the last bit" all the time. It holds on **the same machine, with the same versions, the same number of
# threads**, and operators that compute the same way each time. Let us leave out one after the other.
#
# ### Threads
#
# A sum that two threads share is split elsewhere, so it is rounded elsewhere.
#
# **Predict.** The same twelve steps on one thread and on two. Where do the weights differ?
#
# <details><summary>A. Nowhere: the number of threads is about speed.</summary>
#
# Addition of floating-point numbers depends on its order, and the order on the threads.
# </details>
# <details><summary>B. In the last bits, from the first few steps on.</summary>
#
# Right. And a resumed run on another number of threads is another run from there on.
# </details>
# <details><summary>C. In a few weights only, which the loss forgives.</summary>
#
# Each step feeds on the one before, so soon nearly all of them differ.
# </details>


# %%
def weights_after_each_step(threads=1, count=12, **options):
    """Train a few steps on a number of threads; return the model's parameters after each."""
    torch.set_num_threads(threads)
    run = digits_run(epochs=1, **options)
    weights = []
    for _ in islice(steps(run), count):
        weights.append([p.detach().clone() for p in run.state.model.parameters()])
    torch.set_num_threads(1)
    return weights


def first_difference(left, right):
    """Return the first step after which any bit of the weights differs, None if none does."""
    different = [bool(differences(a, b)) for a, b in zip(left, right, strict=True)]
    return different.index(True) + 1 if any(different) else None


# %% tags=["nbval-ignore-output"]
straight = weights_after_each_step()
print(
    "one thread and one thread: differ after step",
    first_difference(straight, weights_after_each_step()),
)
step = first_difference(straight, weights_after_each_step(threads=2))
print("one thread and two threads: differ after step", step)
assert first_difference(straight, weights_after_each_step()) is None
assert step is not None

# %% [markdown]
# `lesson.start` sets one thread. Where speed counts, fix a number, and keep it in the checkpoint: `TrainState(…, threads=torch.get_num_threads())`
# is a part like any other.
#
# ### Workers
#
# The worker processes of a `DataLoader` must not matter either. Whether they do depends on where the dataset takes its random
# numbers: `digits_run` takes them from `(seed, epoch, index)`. The usual way is the global generator, and of that each worker has its own.

# %%
from torch.utils.data import DataLoader

from course_utils.lessons.data import Noisy

lesson.show_source(Noisy)


def noise(workers):
    """Return all noise of an epoch, loaded by a number of workers."""
    seed_everything(0)
    return torch.cat(list(DataLoader(Noisy(), batch_size=2, num_workers=workers)))


rows = [
    ("digits_run, 0 and 2 workers", first_difference(straight, weights_after_each_step(workers=2))),
    ("noise from the global generator, 0 and 2 workers", int((noise(0) != noise(2)).sum())),
]
print(f"{rows[0][0]}: steps that differ: {0 if rows[0][1] is None else 'some'}")
print(f"{rows[1][0]}: images that differ: {rows[1][1]} of 8")
assert rows[0][1] is None and rows[1][1] == 8

# %% [markdown]
# ### Operators
#
# Some operators write to one place from many threads, and the last one wins; on a GPU there are many more of them.
# `torch.use_deterministic_algorithms(True)` takes another algorithm where there is one, and refuses the operator where there is none:

# %%
torch.use_deterministic_algorithms(True)
with lesson.expect_error(RuntimeError, match="deterministic"):
    torch.zeros(4).put_(torch.tensor([1, 1]), torch.tensor([1.0, 2.0]))
torch.use_deterministic_algorithms(False)

# %% [markdown]
# ### Another machine, another PyTorch
#
# Other processors have other instructions, so other kernels run. We have one machine here, but can tell PyTorch to do without the wide
# instructions of its processor. In a new process, since that is decided at the start:

# %% tags=["nbval-ignore-output"]
import os
import subprocess
import sys

program = """
import hashlib, itertools, torch
from course_utils.lessons.training import digits_run, steps
torch.set_num_threads(1)
run = digits_run(epochs=1)
list(itertools.islice(steps(run), 12))
weights = b"".join(p.detach().numpy().tobytes() for p in run.state.model.parameters())
print(torch.backends.cpu.get_cpu_capability(), hashlib.sha256(weights).hexdigest()[:12])
"""
said = []
for setting in ({}, {}, {"ATEN_CPU_CAPABILITY": "default"}):
    command = [sys.executable, "-c", program]
    done = subprocess.run(
        command, env=os.environ | setting, capture_output=True, text=True, check=True
    )
    said.append(done.stdout.split())
    print("instructions: {:8} fingerprint of the weights: {}".format(*said[-1]))
assert said[0] == said[1]
assert (said[0] == said[2]) == (said[0][0] == "DEFAULT") or said[0][1] != said[2][1]

# %% [markdown]
# The same process twice gives the same bits, other instructions give others. So it is with another processor or GPU, and with another PyTorch,
# whose kernels may add in another order. Such a resume is still a good one: nothing is lost, and the curves agree. But do not test it bit for bit.
#
# ### In the middle of an accumulation
#
# Large batches are often made of small ones: several backward passes, then one step. Between them the **gradients** are state as well.
# `TrainState` saves them when there are some.


# %%
def accumulating():
    """Return a new run that makes each step of two micro-batches, and its data."""
    seed_everything(0)
    model = MLP()
    return TrainState(model, torch.optim.Adam(model.parameters(), lr=0.01))


def micro_batch(state, number):
    """Do one backward pass, and after each second one a step."""
    images, labels = digits()[8 * number : 8 * number + 8]
    (nn.functional.cross_entropy(state.model(images), labels) / 2).backward()
    if number % 2:
        state.optimizer.step()
        state.optimizer.zero_grad()


original = accumulating()
for number in range(7):  # three steps, and a half
    micro_batch(original, number)
saved = copy.deepcopy(original.state_dict())
micro_batch(original, 7)
print("gradients in the state:", *saved["gradients"], sep="\n  ")

for name, left_out in (("all of it", ()), ("without gradients", ("gradients",))):
    resumed_run = accumulating()
    resumed_run.load_state_dict({key: saved[key] for key in saved if key not in left_out})
    micro_batch(resumed_run, 7)
    apart = differences(list(original.model.parameters()), list(resumed_run.model.parameters()))
    print(f"{name}: parameters that differ after the step: {len(apart)} of 4")
    assert bool(apart) == bool(left_out)

# %% [markdown]
# The simplest way is not to save there: after the step there is no gradient to lose.
#
# **Try it:** four micro-batches a step. After which of them is a save without gradients exact?
#
# ### What no part holds
#
# A part saves what its `state_dict` returns. A plain attribute of a layer is not in it, nor is a buffer with `persistent=False`. If training
# changes one of them, no file has it, and the resumed run is another one. `TrainState` remembers them when it is built, and the save says so:


# %%
import warnings


class Brightening(MLP):
    """Its images grow brighter with every batch, by a counter of its own."""

    def __init__(self):
        super().__init__()
        self.batches = 0

    def forward(self, images):
        self.batches += 1
        return super().forward(images * min(1, self.batches / 100))


model = Brightening()
state = TrainState(model, torch.optim.Adam(model.parameters()))
model(digits()[:8][0])
with warnings.catch_warnings(record=True) as said:
    state.state_dict()
lesson.print_folded(str(said[0].message))
assert "model.batches" in str(said[0].message)

# %% [markdown]
# So it is with a scheduler or an optimizer that the state was not given, and with layers that were added later, which a new run would not have.
# It cannot see everything: a variable of the training loop is nobody's attribute. Name it as a part.
#
# **Try it:** make `batches` a buffer. What does the save say now?

# %% [markdown]
# ## 8. Best and last
#
# Two checkpoints matter: the **last**, to go on, and the **best**, to ship. `CheckpointManager` keeps the
# newest few and the best few, and removes a file only when a newer one is safely on the disk.

# %%
shutil.rmtree(scratch / "kept", ignore_errors=True)
manager = CheckpointManager(scratch / "kept", keep_last=2, keep_best=1, metric="accuracy")
for step, accuracy in enumerate([0.71, 0.93, 0.88, 0.90, 0.86], start=1):
    manager.save({"model": MLP(hidden=2).state_dict()}, step, {"accuracy": accuracy})
    print(
        f"after step {step} (accuracy {accuracy}):",
        *sorted(p.name[5:13] for p in manager.folder.iterdir()),
    )
print("latest:", manager.latest().name)
print("best:  ", manager.best().name)
assert "0.93" in manager.best().name

# %% [markdown]
# ### The "best" that is not
#
# Many runs keep the best weights in memory instead, with `best = model.state_dict()`.
#
# **Predict.** Training goes on for 25 steps after `best = model.state_dict()`. How many of the
# model's 20 tensors does `best` still hold as they were?
#
# <details><summary>A. All 20.</summary>
#
# It would need a deep copy, or a file.
# </details>
# <details><summary>B. The 9 buffers, which no optimizer trains.</summary>
#
# BatchNorm's buffers are updated in place by every forward pass in train mode, so they move as
# well.
# </details>
# <details><summary>C. None.</summary>
#
# Right. A state_dict refers to the live tensors (lesson 01), so `best` is the *last* model. A
# shallow `dict(...)` copies the names only.
# </details>

# %%
run = digits_run(epochs=1)
list(islice(steps(run), 20))
model = run.state.model
candidates = {
    "model.state_dict()": model.state_dict(),
    "dict(model.state_dict())": dict(model.state_dict()),
    "copy.deepcopy(model.state_dict())": copy.deepcopy(model.state_dict()),
}
at_best = {name: tensor.clone() for name, tensor in model.state_dict().items()}
list(steps(run))  # the remaining 25 steps of the epoch
for name, best in candidates.items():
    kept = len(at_best) - len(differences(at_best, best))
    print(f"{name:33} kept {kept:2} of {len(at_best)} tensors")
assert differences(at_best, candidates["dict(model.state_dict())"])
assert not differences(at_best, candidates["copy.deepcopy(model.state_dict())"])

# %% [markdown]
# A deep copy keeps them. A file does too, and survives the process.
#
# And if the newest file is damaged? `restore` says so and takes the one before.

# %%
newest = manager.latest()
newest.write_bytes(newest.read_bytes()[:700])
with lesson.show_warnings():
    state = manager.restore()
print("restored:", list(state))

# %% [markdown]
# `restore` reads into new memory. A model that is built already can be filled where it is: `restore_checkpoint(path,
# {"model": model})` compares every checksum, and then reads into the model's own parameters
# ([lesson 04](04_map_location.ipynb), section 6).
#
# **Try it:** damage both of the last two. What does `restore` take, and is it the best?

# %% [markdown]
# ## In short
#
# | piece | without it |
# |---|---|
# | model, with buffers | a wrong model; lost buffers do not show in the training loss |
# | optimizer | the moments start at zero |
# | scheduler *and* optimizer | the learning rate jumps |
# | generators of Python, NumPy, PyTorch, CUDA | other dropout, other augmentation |
# | sampler: epoch and position | images seen twice or never |
# | gradients, in the middle of an accumulation | half of a step |
# | scaler, EMA | skipped steps; the shipped model is not the evaluated one |
# | `epoch` and `step` as *completed* counts | an epoch twice |
#
# Test a resume by training on: straight run against killed and resumed run, bit for bit, on states and
# not on losses.
#
# **Your turn:** [the exercises of this lesson](exercises/02_checkpoint_and_resume.ipynb). Then
# [03 Partial loading](03_partial_loading.ipynb).
#
# Further reading: [reproducibility](https://docs.pytorch.org/docs/stable/notes/randomness.html);
# [torchdata's StatefulDataLoader](https://meta-pytorch.org/data/beta/stateful_dataloader_tutorial.html), which saves the
# position in the data inside the loader (its table of tested versions ends before PyTorch 2.14);
# [AveragedModel](https://docs.pytorch.org/docs/stable/optim.html#weight-averaging-swa-and-ema).

# %%
lesson.finish(scratch)
