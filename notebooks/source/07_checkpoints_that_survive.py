# %% [markdown]
# # 07 · Checkpoints that survive
#
# A checkpoint has one task: to be there after things went wrong. Yet the moment of saving is when
# most checkpoints are lost, because the old one is gone and the new one is not there yet. In this
# lesson we break saves, disks and files, and build the save that stands it.
#
# After this lesson you will be able to
#
# - save so that no crash can cost the last good checkpoint, and say what each step is for,
# - notice a damaged file before it ruins a run, and go on from the newest sound one,
# - save in the background, and say what it costs the training loop.
#
# **Time:** 45 minutes. **Needs:** [01 state_dict anatomy](01_state_dict_anatomy.ipynb).

# %%
import os
import signal
import time
import warnings

import torch
from torch.nn.functional import cross_entropy

from course_utils.checkpoint import (
    AsyncCheckpointer,
    CheckpointManager,
    load_checkpoint,
    save_checkpoint,
)
from course_utils.errors import CheckpointWriteError, DamagedCheckpointError
from course_utils.lessons import lesson, plots
from course_utils.lessons.data import digits
from course_utils.lessons.faults import (
    file_size_limit,
    flip_bit,
    run_in_new_process,
    saves_that_die,
)
from course_utils.lessons.models import MLP, DigitsCNN
from course_utils.resume import differences

scratch = lesson.start("07_checkpoints_that_survive")

# %% [markdown]
# ## 1. The torn write
#
# `torch.save(state, "last.pt")`, once per epoch: so most scripts begin. The first thing it does is to
# empty the old `last.pt`. From then until the last byte is written, there is no checkpoint.
#
# Let a process die in that window. `saves_that_die` starts processes that save over an old file and
# are ended by the system, as suddenly as by SIGKILL, after 5 %, 10 %, … 95 % of the new file. Half of
# them use `torch.save`, half `save_checkpoint`. Then it loads what is left.
#
# <details><summary>Predict: of 19 deaths each, how often is there still a checkpoint?</summary>
#
# With <code>torch.save</code>: never. With <code>save_checkpoint</code>: always, the old one.
# </details>

# %%
deaths = saves_that_die(scratch)
for saver in ("torch.save", "save_checkpoint"):
    remains = [death.remains for death in deaths if death.saver == saver]
    print(f"{saver:16}", {kind: remains.count(kind) for kind in ("old", "new", "lost")})

# %%
colors = {"old": plots.BLUE, "new": plots.GREEN, "lost": plots.RED}
fig, axis = plots.figure(7.5, 1.9)
for row, saver in enumerate(("save_checkpoint", "torch.save")):
    for death in deaths:
        if death.saver == saver:
            mark = "X" if death.remains == "lost" else "o"
            axis.scatter(100 * death.fraction, row, s=90, c=colors[death.remains], marker=mark)
axis.set(
    xlabel="part of the file written when the process died (%)", ylim=(-0.6, 1.6), xlim=(0, 100)
)
axis.set_yticks([0, 1], ["save_checkpoint", "torch.save"])
plots.show(
    fig,
    alt="Two rows of marks from 5 to 95 percent. In the row of torch.save every mark is a red cross, "
    "in the row of save_checkpoint every mark is a blue dot.",
    caption="Red cross: no checkpoint is left. Blue dot: the old one is there, whole.",
)
assert {death.remains for death in deaths if death.saver == "torch.save"} == {"lost"}
assert {death.remains for death in deaths if death.saver == "save_checkpoint"} == {"old"}

# %% [markdown]
# This is what you find the next morning. A famous message:

# %%
with lesson.expect_error(RuntimeError, match="failed finding central directory"):
    torch.load(scratch / "torch.save.pt")

# %% [markdown]
# The directory of a zip file stands at its end (lesson 01), so a file that was cut has none.
# `load_checkpoint` says what happened, and to which file:

# %%
with lesson.expect_error(DamagedCheckpointError):
    load_checkpoint(scratch / "torch.save.pt")

# %% [markdown]
# ## 2. The durable save, step by step
#
# How does `save_checkpoint` do it? In four steps:
#
# 1. write a **temporary file in the same folder**;
# 2. `fsync` it: wait until its data is on the disk, not only in the system's memory;
# 3. `os.replace` it over the old file: the one operation that is atomic;
# 4. `fsync` the **folder**: wait until the new name is on the disk.
#
# Step 1 and 3 help against a process that dies. Steps 2 and 4 are for power cuts: the system keeps
# writes in memory and brings them to the disk later, **in any order**. The name may be there before
# the data.
#
# We cannot cut your power. So here is a small model instead: it knows which writes are still in
# memory at each moment, and tries every combination of those that reach the disk.

# %%
from course_utils.lessons.crash_model import DURABLE, after_a_crash, after_all_steps

recipes = {
    "write over the old file": ["write in place"],
    "… and fsync": ["write in place", "fsync file"],
    "temporary file and replace": ["write temporary", "replace"],
    "… and fsync the file": ["write temporary", "fsync file", "replace"],
    "… and fsync the folder": DURABLE,
}
lesson.show_table(
    [
        (name, ", ".join(sorted(after_a_crash(steps))), ", ".join(sorted(after_all_steps(steps))))
        for name, steps in recipes.items()
    ],
    ["how it saves", "power cut while saving leaves", "power cut after saving leaves"],
)

# %% [markdown]
# <details><summary>Predict: which single step, left out, brings "torn" back? Which one lets a finished
# save vanish?</summary>
#
# Without <code>fsync</code> of the file, the new name can point to data that never arrived: torn.
# Without <code>fsync</code> of the folder, the old name can come back: the save that had returned is
# gone. Without the temporary file, the old content is destroyed at once.
# </details>

# %%
for step in DURABLE[1:]:
    rest = [other for other in DURABLE if other != step]
    print(f"without {step:13}", sorted(after_a_crash(rest)), "then", sorted(after_all_steps(rest)))
assert after_a_crash(DURABLE) == {"old", "new"}
assert after_all_steps(DURABLE) == {"new"}

# %% [markdown]
# Common libraries skip steps 2 and 4, because they are slow and nothing shows when they are missing.
# Some file systems soften the blow (ext4 flushes a file when it is renamed over another, by default);
# none promises to.
#
# The real thing. The temporary file is locked: so a later save can tell a dead writer's leftovers
# from those of a writer that is still alive.

# %%
from course_utils.files.durable import write_atomically

lesson.show_source(write_atomically)

# %% [markdown]
# The processes that died above left such files. One more save clears them away:

# %%
print("left behind:", len(list(scratch.glob(".saving-*"))), "file")
save_checkpoint(scratch / "save_checkpoint.pt", {"name": "newer"})
print("after one more save:", len(list(scratch.glob(".saving-*"))))
assert load_checkpoint(scratch / "save_checkpoint.pt") == {"name": "newer"}

# %% [markdown]
# ## 3. The full disk
#
# No process has to die. A full disk is enough, and it comes at night. We let no file of this process
# grow beyond 100,000 bytes, which the system reports much like a full disk.

# %%
model = MLP(hidden=1000)
last = scratch / "last.pt"
torch.save(model.state_dict(), last)
print(f"last.pt: {last.stat().st_size:,} bytes")

with (
    file_size_limit(100_000),
    lesson.expect_error(RuntimeError, match="PytorchStreamWriter failed|unexpected pos"),
):
    torch.save(model.state_dict(), last)
print(f"last.pt: {last.stat().st_size:,} bytes")

# %% [markdown]
# The error came after the damage: the good file is gone. Now the durable way:

# %%
save_checkpoint(last, model.state_dict())
with file_size_limit(100_000), lesson.expect_error(CheckpointWriteError):
    save_checkpoint(last, {name: tensor + 1 for name, tensor in model.state_dict().items()})

print("the old file is as it was:", not differences(load_checkpoint(last), model.state_dict()))
assert not differences(load_checkpoint(last), model.state_dict())

# %% [markdown]
# ## 4. The silent bit flip
#
# Disks, cables and memory change bits now and then. Let us train a model and flip one single bit of
# its file.

# %%
images, labels = digits().tensors
test_images, test_labels = digits(train=False).tensors
model = DigitsCNN(width=8)
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
for _ in range(3):
    for batch in torch.randperm(len(images)).split(32):
        loss = cross_entropy(model(images[batch]), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


@torch.no_grad()
def accuracy(state):
    """Of a DigitsCNN with this state, on the test digits."""
    model = DigitsCNN(width=8)
    model.load_state_dict(state)
    return (model.eval()(test_images).argmax(1) == test_labels).float().mean().item()


good = save_checkpoint(scratch / "good.pt", model.state_dict())
print("better than 0.9:", accuracy(load_checkpoint(good)) > 0.9)

# %% [markdown]
# A float32 has 32 bits: 23 for the fraction, 8 for the exponent, one for the sign. We flip each of
# them in turn, always in the first weight of the first layer, and load the file with `torch.load`.
#
# <details><summary>Predict: how many of the 32 damaged files does <code>torch.load</code> refuse? How
# bad can one wrong bit in one of thousands of weights be?</summary>
#
# None: it does not look at the checksums in the file. Most flips do little; the highest bit of the
# exponent makes the weight 10<sup>38</sup> times too large, and the model guesses.
# </details>

# %%
damaged = scratch / "damaged.pt"
after_flip, refused = [], 0
for bit in range(32):
    damaged.write_bytes(good.read_bytes())
    flip_bit(damaged, "data/0", position=bit // 8, bit=bit % 8)
    after_flip.append(accuracy(torch.load(damaged)))
    try:
        load_checkpoint(damaged)
    except DamagedCheckpointError:
        refused += 1
print("files of 32 that torch.load took without a word:", len(after_flip))
print("files of 32 that load_checkpoint refused:", refused)
assert refused == 32

# %% tags=["nbval-ignore-output"]
fig, axis = plots.figure(7.5, 3)
kinds = [plots.BLUE] * 23 + [plots.ORANGE] * 8 + [plots.GREEN]
axis.bar(range(32), after_flip, color=kinds)
axis.set(
    xlabel="flipped bit (0 to 22: fraction, 23 to 30: exponent, 31: sign)",
    ylabel="test accuracy",
    ylim=(0, 1),
)
plots.show(
    fig,
    alt="Test accuracy for each of the 32 flipped bits. Nearly all bars are as high as without a flip; "
    "among the exponent's bits some are lower, and at its highest, bit 30, only about 0.1 is left.",
    caption="One flipped bit, and torch.load says nothing. Most do no harm you would notice; bit 30 ruins all.",
)
print(
    "accuracy with bit 30 flipped:",
    round(after_flip[30], 2),
    "and without:",
    round(accuracy(load_checkpoint(good)), 2),
)

# %%
print("bit 30 costs more than half of the accuracy:", after_flip[30] < 0.5)
assert after_flip[30] < 0.5 < 0.9 < after_flip[0]

# %% [markdown]
# A run that resumes from such a file diverges, or worse: it does not, and is a little wrong. The
# checksums to prevent it are in every `.pt` file: `torch.save` writes a CRC-32 for each record.
# `torch.load` ignores them; `load_checkpoint` compares them while it reads, and names the record and
# the tensor.

# %%
with lesson.expect_error(DamagedCheckpointError):
    load_checkpoint(damaged)

# %% [markdown]
# ## 5. Go on from the newest sound file
#
# A file that is refused is no help if it was the only one. So keep several, and let the resumed run
# take the newest that is sound. `CheckpointManager` does both. It writes no list of its files: the
# folder is the list, and nothing can disagree with it.

# %%
run = scratch / "run"
manager = CheckpointManager(run, keep_last=2, keep_best=1)
present = []
for step, score in zip(
    range(100, 900, 100), [0.6, 0.8, 0.9, 0.95, 0.93, 0.94, 0.92, 0.91], strict=True
):
    manager.save({"step": step}, step, {"accuracy": score})
    present.append({int(path.name[5:13]) for path in run.glob("step-*")})
for path in sorted(run.iterdir()):
    print(path.name)
print("best:", manager.best().name)

# %%
fig, axis = plots.figure(7.5, 3.2)
for column, steps in enumerate(present):
    for step in steps:
        axis.scatter(
            100 * (column + 1),
            step,
            s=120,
            marker="s",
            c=plots.ORANGE if step == 400 else plots.BLUE,
        )
axis.set(xlabel="after the save of step", ylabel="step of the file in the folder")
plots.show(
    fig,
    alt="For each of eight saves, the files that are in the folder afterwards: the two newest, and "
    "from step 400 on always the one of step 400, whose accuracy was the best.",
    caption="The two newest stay, and the best (orange) stays as long as none is better.",
)
print("files after each save:", [len(steps) for steps in present])

# %% [markdown]
# <details><summary>Predict: after step 300 was saved, step 100 is removed. When exactly, and what if
# the save of step 300 fails?</summary>
#
# Only when step 300 is durable: written, flushed, renamed, flushed again. If it fails, nothing is
# removed. A manager that removes first and saves then has a moment with too few files, and a full
# disk makes that moment last.
# </details>
#
# Now the newest file is damaged. `restore` says so, and takes the next:

# %%
flip_bit(manager.latest(), "data.pkl", position=0, bit=3)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    state = CheckpointManager(run).restore()
print(caught[0].message.args[0].partition(":")[0], "->", manager.latest().name)
print("restored step:", state["step"])
assert state["step"] == 700 and len(caught) == 1

# %% [markdown]
# Two more rules the manager keeps, each with a reason: a file somebody is **reading** stays until he
# is done; and files that **another manager** saved are not touched, even when two runs share a folder
# by mistake. Both work by locks, which the system drops when a process dies.

# %%
lesson.show_source(CheckpointManager.save_with, CheckpointManager._prune)

# %% [markdown]
# ## 6. A mapped file, overwritten
#
# `mmap=True` loads without reading (lesson 04): a tensor's bytes come from the file when they are
# first used. Then the file must stay as it is. What happens if somebody writes into it?

# %%
code = """
import torch
from course_utils.checkpoint import load_checkpoint, save_checkpoint
path = {path!r}
save_checkpoint(path, {{"weight": torch.ones(1_000_000)}})
weight = load_checkpoint(path, mmap=True)["weight"]
{overwrite}
assert weight.sum() == 1_000_000
"""
mapped = os.fspath(scratch / "mapped.pt")
in_place = run_in_new_process(code.format(path=mapped, overwrite="open(path, 'wb').close()"))
replaced = run_in_new_process(
    code.format(path=mapped, overwrite="save_checkpoint(path, {'weight': torch.zeros(3)})")
)
print("overwritten in place: ended by", signal.Signals(-in_place).name)
print("replaced: exit status", replaced)
assert (in_place, replaced) == (-signal.SIGBUS, 0)

# %% [markdown]
# SIGBUS: no exception, no traceback, the process is gone. `open(path, "wb")`, and so
# `torch.save`, cuts the file to zero bytes under the reader's feet. `os.replace` leaves the old bytes
# alone as long as anybody uses them: the durable save is also the polite one.

# %% [markdown]
# ## 7. Saving while training goes on
#
# Durable means: wait for the disk. The training loop need not wait with it. What has to happen at
# once is only a **copy** of the state in memory, since the next step changes it; the file can be
# written from the copy while the loop goes on. `AsyncCheckpointer` does that.
#
# We train a wide network (its state with Adam's moments: about 90 MB) and save every fourth step,
# first synchronously, then in the background. A timeline is recorded: when the loop computes, when it
# stands still.


# %%
def train(save, steps=16, every=4):
    """Train from the same start; return when the loop computed and when it was blocked."""
    torch.manual_seed(0)
    model = MLP(hidden=100_000)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    spans, begin = [], time.perf_counter()
    for step in range(1, steps + 1):
        start = time.perf_counter()
        batch = slice(32 * step, 32 * step + 32)
        loss = cross_entropy(model(images[batch]), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        spans.append(("compute", start - begin, time.perf_counter() - start))
        if step % every == 0:
            start = time.perf_counter()
            save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, step)
            spans.append(("blocked", start - begin, time.perf_counter() - start))
    return spans


timelines = {}
with_waiting = CheckpointManager(scratch / "synchronous", keep_last=4)
timelines["synchronous"] = train(with_waiting.save)

in_background = CheckpointManager(scratch / "asynchronous", keep_last=4)
with AsyncCheckpointer(in_background) as checkpointer:
    timelines["asynchronous"] = train(checkpointer.save)

print("checkpoints:", [path.name for path in sorted(in_background.folder.iterdir())])

# %% tags=["nbval-ignore-output"]
fig, axis = plots.figure(7.5, 2.4)
for row, spans in enumerate(reversed(timelines.values())):
    for kind, start, length in spans:
        color = plots.RED if kind == "blocked" else plots.BLUE
        axis.barh(row, length, left=start, height=0.6, color=color, edgecolor="white", lw=0.5)
axis.set_yticks([0, 1], ["asynchronous", "synchronous"])
axis.set(xlabel="time since the start (seconds)")
axis.grid(axis="y")
plots.show(
    fig,
    alt="Two timelines of sixteen training steps with a save after every fourth. In the synchronous one "
    "each save blocks the loop for a while, marked red; in the asynchronous one all red marks but the "
    "first are short.",
    caption="Blue: the loop computes. Red: it waits, for the disk or, below, for a copy. The first copy "
    "takes longest: its memory is taken then, and reused by the others.",
)
blocked = {
    name: sum(length for kind, _, length in spans if kind == "blocked")
    for name, spans in timelines.items()
}
print(
    f"blocked, asynchronous against synchronous: {blocked['asynchronous'] / blocked['synchronous']:.2f}"
)

# %% [markdown]
# Is the copy a true one, although the loop went on changing the weights while it was written? The two
# runs did the same arithmetic, so their files must hold the same bits:

# %%
for step in (4, 8, 12, 16):
    one, other = (
        load_checkpoint(manager.path_for(step)) for manager in (with_waiting, in_background)
    )
    print(f"step {step:2}: places that differ: {len(differences(one, other))}")
    assert not differences(one, other)

# %% [markdown]
# What it costs: memory for one more copy of the state, and a little of the processor and the memory's
# speed while the file is written. Three questions to ask any asynchronous saver, and the answers of
# this one:
#
# | question | answer |
# |---|---|
# | the disk is slower than the loop? | the next `save` waits for the last one: copies never pile up |
# | the background save fails? | the error comes up at the next `save`, or at `close` |
# | the script ends right after a save? | the interpreter waits until it is written |

# %%
with AsyncCheckpointer(in_background) as checkpointer:
    with file_size_limit(100_000):
        checkpointer.save({"weight": torch.ones(100_000)}, step=100)
        with lesson.expect_error(CheckpointWriteError, match="not saved"):
            checkpointer.wait()
print("newest is still", in_background.latest().name)

# %%
lesson.show_source(AsyncCheckpointer.save, AsyncCheckpointer.wait)

# %% [markdown]
# And how much slower is the careful way to begin with? It is not: large aligned writes past the
# system's page cache, and a checksum that runs faster than the memory, save more than the flushing
# costs. Here against `torch.save` with the one step that makes it comparable, an `fsync`:


# %%
def torch_save_and_flush(state, path):
    with open(path, "wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())


def seconds(function, *arguments):
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start


large = {f"layer.{n}": torch.randn(1_000_000) for n in range(25)}  # 100 MB
times = {"torch": [], "ours": []}
for turn in range(5):  # interleaved, each on a file that is new
    times["torch"].append(seconds(torch_save_and_flush, large, scratch / f"torch {turn}.pt"))
    times["ours"].append(seconds(save_checkpoint, scratch / f"ours {turn}.pt", large))
    assert not differences(torch.load(scratch / f"ours {turn}.pt"), large)
    (scratch / f"torch {turn}.pt").unlink()
    (scratch / f"ours {turn}.pt").unlink()

# %% tags=["nbval-ignore-output"]
ratio = sorted(times["ours"])[2] / sorted(times["torch"])[2]
print(f"save_checkpoint takes {ratio:.2f} of the time of torch.save and fsync, 100 MB, median of 5")

# %% [markdown]
# `make bench` measures this properly, against other libraries, with the raw speed of the disk beside it.

# %% [markdown]
# ## In short
#
# | what goes wrong | what stands it |
# |---|---|
# | the process dies while saving | temporary file in the same folder, `os.replace` |
# | the power fails | `fsync` of the file before the rename, of the folder after it |
# | the disk is full | the old file is untouched until the new one is durable |
# | a bit flips | the CRC-32 of every record, compared at each load |
# | the newest file is damaged | keep several; `restore` takes the newest sound one |
# | a mapped file is overwritten | replace files, never write into them |
# | the loop waits for the disk | `AsyncCheckpointer`: it waits for a copy in memory |
#
# **Your turn:** [exercises for this lesson](exercises/07_checkpoints_that_survive.ipynb).
#
# Further reading: [Ensuring data reaches disk](https://lwn.net/Articles/457667/) (2011, still right);
# Pillai et al., [All File Systems Are Not Created
# Equal](https://www.usenix.org/conference/osdi14/technical-sessions/presentation/pillai) (OSDI 2014);
# [`torch.distributed.checkpoint`](https://docs.pytorch.org/docs/stable/distributed.checkpoint.html),
# whose `async_save` does the same for many processes (lesson 08). That `torch.load` does not compare
# checksums was seen with PyTorch 2.14; a test of this course will tell when that changes.
