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

# %% [markdown]
# **Do you remember?** Answer first, then open.
#
# <details><summary>Where in a <code>.pt</code> file is the directory, and what does that mean for a
# file that was cut? (01)</summary>
#
# At the end. A file that was cut has none, and no record can be found.
# </details>
# <details><summary>Which two checkpoints of a run matter? (02)</summary>
#
# The last, to go on, and the best, to ship.
# </details>
# <details><summary>Is <code>best = model.state_dict()</code> a copy? (01)</summary>
#
# No: the model's own tensors. The next step changes them.
# </details>

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
# **Predict.** Of 19 deaths each: how often is there a checkpoint left after `torch.save`, and
# after `save_checkpoint`?
#
# <details><summary>A. About half the time, and always.</summary>
#
# It depends on luck only if there is a moment with an old *and* a new file. `torch.save` empties
# the old one first.
# </details>
# <details><summary>B. Never, and always the old one.</summary>
#
# Right. Until the last byte is written `torch.save` has destroyed the old file and not finished
# the new one.
# </details>
# <details><summary>C. Always: the system restores the old file when a process dies.</summary>
#
# The system keeps what was written, and the first thing that was written was "nothing".
# </details>

# %%
deaths = saves_that_die(scratch)
left_behind = list(scratch.glob(".saving-*"))  # for section 2
for saver in ("torch.save", "save_checkpoint"):
    remains = [death.remains for death in deaths if death.saver == saver]
    print(f"{saver:16}", {kind: remains.count(kind) for kind in ("old", "new", "lost")})

# %% jupyter={"source_hidden": true}
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
    alt="Two rows of marks from 5 to 95 percent. In the row of torch.save every mark is a cross, "
    "in the row of save_checkpoint every mark is a dot.",
    caption="Cross: no checkpoint is left. Dot: the old one is there, whole.",
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
# **Try it:** `zipfile.ZipFile(scratch / "torch.save.pt")`. How does Python say the same?

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
# **Predict.** Of the four steps, which one, left out, brings "torn" back after a power cut? Which
# one lets a finished save vanish?
#
# <details><summary>A. <code>replace</code> for both: it is the atomic one.</summary>
#
# Without it there is no new checkpoint at all. But `replace` moves a *name*; it says nothing
# about the data.
# </details>
# <details><summary>B. <code>fsync</code> of the file, and <code>fsync</code> of the
# folder.</summary>
#
# Right. Without the first, the new name can point to data that never arrived. Without the second,
# the old name can come back, and the save that had returned is gone.
# </details>
# <details><summary>C. None: closing a file writes it to the disk.</summary>
#
# Closing hands the data to the system, which writes it when it likes. That is enough for a
# process that dies, not for a power cut.
# </details>

# %%
for step in DURABLE[1:]:
    rest = [other for other in DURABLE if other != step]
    print(f"without {step:13}", sorted(after_a_crash(rest)), "then", sorted(after_all_steps(rest)))
assert after_a_crash(DURABLE) == {"old", "new"}
assert after_all_steps(DURABLE) == {"new"}

# %% [markdown]
# Who does all four? `torch.save` to a path does none of them, and `safetensors.torch.save_file` (0.8) the
# temporary file and the renaming only: so says `strace`, which lists a program's calls. PyTorch's own
# distributed checkpoint (lesson 08) flushes each file and renames its index last. Both it and
# `save_checkpoint` call the system from Python, so here we can count:

# %%
import torch.distributed.checkpoint as dcp

from course_utils.lessons.faults import count_calls

weights, folder = {"weight": torch.ones(1000)}, lesson.fresh(scratch / "counted")
folder.mkdir()
with warnings.catch_warnings():
    warnings.filterwarnings("ignore", message="torch.distributed is disabled")
    lesson.show_table(
        [
            (name, *count_calls(save).values())
            for name, save in {
                "distributed.checkpoint.save": lambda: dcp.save(
                    weights, checkpoint_id=folder / "dcp"
                ),
                "save_checkpoint": lambda: save_checkpoint(folder / "one.pt", weights),
            }.items()
        ],
        ["how it saves", "fsync of a file", "renamed", "fsync of a folder"],
    )

# %% [markdown]
# Some file systems soften the blow (ext4 flushes a file when it is renamed over another, by default);
# none promises to.
#
# In Python the four steps are these lines. `os.fsync` wants an open file; a folder is opened like one:
#
# ```python
# temporary = path.with_name(f".{path.name}.part")
# with open(temporary, "wb") as file:
#     torch.save(state, file)      # 1
#     file.flush()                 #    from Python's memory to the system's
#     os.fsync(file.fileno())      # 2  from the system's to the disk
# os.replace(temporary, path)      # 3
# folder = os.open(path.parent, os.O_RDONLY)
# os.fsync(folder)                 # 4
# os.close(folder)
# ```
#
# The real thing has the same steps. Its temporary file is locked, so that a later save can tell a dead
# writer's leftovers from those of a writer that is still alive.

# %%
from course_utils.files.durable import write_atomically

lesson.show_source(write_atomically)

# %% [markdown]
# The processes that died above left such files. One more save clears them away:

# %%
print("left behind by the processes that died:", len(left_behind), "file")
save_checkpoint(scratch / "save_checkpoint.pt", {"name": "newer"})
print("after one more save:", len(list(scratch.glob(".saving-*"))))
assert load_checkpoint(scratch / "save_checkpoint.pt") == {"name": "newer"}

# %% [markdown]
# **Try it:** swap `"fsync file"` and `"replace"` in a recipe of the crash model. What comes back?

# %% [markdown]
# ## 3. The full disk
#
# No process has to die. A full disk is enough, and it comes at night. We let no file of this process
# grow beyond 100,000 bytes, which the system reports much like a full disk.

# %% tags=["nbval-ignore-output"]
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

changed = differences(load_checkpoint(last), model.state_dict())
print(f"last.pt: {last.stat().st_size:,} bytes, tensors that changed: {len(changed)}")
assert not changed

# %% [markdown]
# **Try it:** set the limit to 350,000 bytes, between one file and two. Do both saves succeed?

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
print(f"test accuracy: {accuracy(load_checkpoint(good)):.1f}")
assert accuracy(load_checkpoint(good)) > 0.9

# %% [markdown]
# A float32 has 32 bits: 23 for the fraction, 8 for the exponent, one for the sign. We flip each of
# them in turn, always in the first weight of the first layer, and load the file with `torch.load`.
#
# **Predict.** We flip each of the 32 bits of one weight in turn. How many of the 32 damaged files
# does `torch.load` refuse?
#
# <details><summary>A. All: a zip has checksums.</summary>
#
# It has, and `torch.save` writes them. `torch.load` does not look.
# </details>
# <details><summary>B. About 8: those of the exponent give infinities.</summary>
#
# No value is refused. Even NaN is a number to a loader.
# </details>
# <details><summary>C. None.</summary>
#
# Right. Most flips do little; the highest bit of the exponent makes the weight about
# 10<sup>38</sup> times too large, and the model guesses.
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

# %% tags=["nbval-ignore-output"] jupyter={"source_hidden": true}
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
print(f"accuracy with bit 0 flipped: {after_flip[0]:.1f}; with bit 30: less than 0.5")
assert after_flip[30] < 0.5 < 0.9 < after_flip[0]

# %% [markdown]
# A run that resumes from such a file diverges, or worse: it does not, and is a little wrong. The
# checksums to prevent it are in every `.pt` file: `torch.save` writes a CRC-32 for each record.
# `torch.load` ignores them. Python's `zipfile` compares them if asked: `testzip()` returns the first record
# that is damaged, or `None`. `load_checkpoint` compares them while it reads, and names the tensor.
# `restore_checkpoint(path, {"model": model})`, which reads straight into a model that is there
# ([lesson 04](04_map_location.ipynb), section 6), compares them all *before* the first byte goes
# into the model: a damaged file changes nothing.

# %%
import zipfile

with zipfile.ZipFile(damaged) as archive:
    print("testzip:", archive.testzip())
with lesson.expect_error(DamagedCheckpointError):
    load_checkpoint(damaged)

# %% [markdown]
# **Try it:** flip a bit of `data.pkl` (`flip_bit(damaged, "data.pkl", 20, 0)`). What does `torch.load` say now,
# and would its advice help?

# %% [markdown]
# ## 5. Go on from the newest sound file
#
# A file that is refused is no help if it was the only one. So keep several, and let the resumed run
# take the newest that is sound. `CheckpointManager` does both. It writes no list of its files: the
# folder is the list, and nothing can disagree with it.

# %%
run = lesson.fresh(scratch / "run")
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

# %% jupyter={"source_hidden": true}
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
# **Predict.** The newest two are kept. When step 300 is saved, when exactly is step 100 removed,
# and what if that save fails?
#
# <details><summary>A. Before the save: so there is room on the disk.</summary>
#
# Then there is a moment with one file only, and a full disk makes that moment last.
# </details>
# <details><summary>B. When the save returns from writing, durable or not.</summary>
#
# Then a power cut can find the new file torn and the old one gone.
# </details>
# <details><summary>C. When step 300 is durable. If the save fails, nothing is removed.</summary>
#
# Right: written, flushed, renamed, flushed again; only then is the oldest removed.
# </details>
#
# Now the newest file is damaged. `restore` says so, and takes the next:

# %%
manager.save({"step": 800}, 800, {"accuracy": 0.91})  # whole, also when this cell runs again
flip_bit(manager.latest(), "data.pkl", position=0, bit=3)
with lesson.show_warnings():
    state = CheckpointManager(run).restore()
print("restored step:", state["step"])
assert state["step"] == 700

# %% [markdown]
# Two more rules the manager keeps, each with a reason: a file somebody is **reading** stays until he
# is done; and files that **another manager** saved are not touched, even when two runs share a folder
# by mistake. Both work by locks, which the system drops when a process dies.

# %%
lesson.show_source(CheckpointManager.save_with)

# %% [markdown]
# **Try it:** a manager with `keep_last=1, keep_best=1` over the same scores. Which files are left?

# %% [markdown]
# ## 6. A mapped file, overwritten
#
# `mmap=True` loads without reading (lesson 04): a tensor's bytes come from the file when they are
# first used. Then the file must stay as it is. What happens if somebody writes into it?

#
# **Predict.** A file is mapped. Another program then writes other weights of the same size into it, in
# place. What does the process that mapped it see?
#
# <details><summary>A. The old weights: they were loaded.</summary>
#
# Nothing was loaded. A mapped tensor is a promise to look into the file when asked.
# </details>
# <details><summary>B. The new weights, without an error.</summary>
#
# Right, and half of each while the other program is writing. Only if the file becomes *shorter* is
# there anything to notice, and then the process dies.
# </details>
# <details><summary>C. An error at the next access.</summary>
#
# The system compares nothing. Bytes are bytes.
# </details>

# %%
mapped = scratch / "mapped.pt"


def mapped_ones():
    """Save a million ones, and return them as a mapped tensor."""
    save_checkpoint(mapped, {"weight": torch.ones(1_000_000)})
    return torch.load(mapped, mmap=True)["weight"]


other = scratch / "other.pt"
save_checkpoint(other, {"weight": torch.full((1_000_000,), 7.0)})

weight = mapped_ones()
print("mean when mapped:                        ", weight.mean().item())
with open(mapped, "r+b") as file:  # as `rsync --inplace` and many copy tools do
    file.write(other.read_bytes())
print("mean after the file was overwritten:     ", weight.mean().item())
assert weight.mean() == 7

weight = mapped_ones()
save_checkpoint(mapped, {"weight": torch.full((1_000_000,), 7.0)})
print("mean after save_checkpoint replaced it:  ", weight.mean().item())
assert weight.mean() == 1

# %% [markdown]
# The model that is serving requests has other weights now, and nobody was told. If the file is *cut*, as
# `torch.save` and `open(path, "wb")` do first, there are no bytes to show any more. That happens in a
# process of its own:

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
cut = run_in_new_process(code.format(path=os.fspath(mapped), overwrite="open(path, 'wb').close()"))
print("cut in place: ended by", signal.Signals(-cut).name)
assert cut == -signal.SIGBUS

# %% [markdown]
# SIGBUS: no exception, no traceback, the process is gone. `os.replace` leaves the old bytes alone as long as
# anybody uses them: the durable save is also the polite one.
#
# **Try it:** overwrite only the first half of the mapped file. What is the mean then?

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
with_waiting = CheckpointManager(lesson.fresh(scratch / "synchronous"), keep_last=4)
timelines["synchronous"] = train(with_waiting.save)

in_background = CheckpointManager(lesson.fresh(scratch / "asynchronous"), keep_last=4)
with AsyncCheckpointer(in_background) as checkpointer:
    timelines["asynchronous"] = train(checkpointer.save)

print("checkpoints:", [path.name for path in sorted(in_background.folder.iterdir())])

# %% tags=["nbval-ignore-output"] jupyter={"source_hidden": true}
fig, axis = plots.figure(7.5, 2.4)
for row, spans in enumerate(reversed(timelines.values())):
    for kind, start, length in spans:
        color = plots.ORANGE if kind == "blocked" else plots.BLUE
        axis.barh(row, length, left=start, height=0.6, color=color, edgecolor="white", lw=0.5)
axis.set_yticks([0, 1], ["asynchronous", "synchronous"])
axis.set(xlabel="time since the start (seconds)")
axis.grid(axis="y")
plots.show(
    fig,
    alt="Two timelines of sixteen training steps with a save after every fourth. In the synchronous one "
    "each save blocks the loop for a while, marked orange; in the asynchronous one all orange marks "
    "but the first are short.",
    caption="Blue: the loop computes. Orange: it waits, for the disk or, below, for a copy. The first "
    "copy takes longest: its memory is taken from the system then, and reused by the others.",
)
blocked = {
    name: [length for kind, _, length in spans if kind == "blocked"]
    for name, spans in timelines.items()
}
for name, waits in blocked.items():
    print(f"{name:13} each save blocked the loop for (s):", *(f"{wait:.2f}" for wait in waits))

# %% [markdown]
# Compare the saves after the first. The first asynchronous one pays for its memory: the system hands out
# each page when it is first written, so that copy alone can take as long as a save. A run that saves a
# hundred times pays once.

# %% tags=["nbval-ignore-output"]
later = {name: sum(waits[1:]) for name, waits in blocked.items()}
print(
    f"saves 2 to 4, asynchronous against synchronous: {later['asynchronous'] / later['synchronous']:.2f}"
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
        with lesson.expect_error(CheckpointWriteError):
            checkpointer.wait()
print("newest is still", in_background.latest().name)

# %%
lesson.show_source(AsyncCheckpointer.save, AsyncCheckpointer.wait)

# %% [markdown]
# And how much slower is the careful way to begin with? Large aligned writes past the system's page
# cache, and a checksum that runs faster than the memory, can save more than the flushing costs; how
# much depends on the disk. Here against `torch.save` with the one step that makes it comparable, an `fsync`:


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
# **Try it:** save every step in place of every fourth. When does the background no longer help?
#
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

# %%
lesson.finish(scratch)
