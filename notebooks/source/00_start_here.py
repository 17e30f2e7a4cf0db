# %% [markdown]
# # Start here
#
# A model lives in memory. When the process ends, it is gone, unless it was saved, and saved
# *rightly*: complete, undamaged, and loadable somewhere else. This course shows how, with
# PyTorch, from the first `state_dict` to checkpoints that survive a power cut.
#
# After this page you will be able to
#
# - find your way through the course,
# - tell whether this computer is ready for it,
# - say what "exact resume" means, having seen it happen.
#
# **Time:** 10 minutes. **Needs:** that you have trained a small network before. No GPU. Once you
# know the way, `progress()` below says what you have solved and what comes next.

# %% [markdown]
# ## The way through
#
# | lesson | you learn | minutes | exercises, minutes |
# |---|---|---|---|
# | [00 Start here](00_start_here.ipynb) | the map, an environment check, and a run killed and resumed | 10 |  |
# | [01 state_dict anatomy](01_state_dict_anatomy.ipynb) | what a checkpoint file holds, byte by byte | 45 | [63](exercises/01_state_dict_anatomy.ipynb) |
# | [02 Checkpoint and resume](02_checkpoint_and_resume.ipynb) | to stop a run anywhere and continue it exactly | 55 | [65](exercises/02_checkpoint_and_resume.ipynb) |
# | [03 Partial loading](03_partial_loading.ipynb) | to load the part that fits: transfer learning | 45 | [57](exercises/03_partial_loading.ipynb) |
# | [04 map_location](04_map_location.ipynb) | to load a GPU's file on a laptop, and a large file in little memory | 40 | [57](exercises/04_map_location.ipynb) |
# | [05 TorchScript (legacy)](05_torchscript.ipynb) | to run a model from C++, without Python | 45 | [54](exercises/05_torchscript.ipynb) |
# | [06 Files you should not trust](06_untrusted_files.ipynb) | what a file can do to you, and how to look first | 40 | [55](exercises/06_untrusted_files.ipynb) |
# | [07 Checkpoints that survive](07_checkpoints_that_survive.ipynb) | to save through crashes and full disks, fast | 45 | [72](exercises/07_checkpoints_that_survive.ipynb) |
# | [08 Many processes](08_many_processes.ipynb) | to save from several processes and load into another number | 50 | [95](exercises/08_many_processes.ipynb) |
# | [09 After TorchScript](09_after_torchscript.ipynb) | which format to choose today | 50 | [59](exercises/09_after_torchscript.ipynb) |
# | [10 Your framework's checkpoint](10_your_frameworks_checkpoint.ipynb) | what frameworks save, and whether their runs resume | 40 | [60](exercises/10_your_frameworks_checkpoint.ipynb) |
# | together | | 465 | 637 |
#
# Minutes for a lesson are for reading, running and predicting.
#
# Take 01 and 02 in order. After them, go where your work leads you: 03 to 07 need
# nothing more, 08 needs 02, 09 needs 05 and 06, and 10 needs 08.
#
# Each lesson asks you to **predict** what a cell will print, and offers answers. Choose one before
# you open it: each says why it is right or wrong, and a wrong guess teaches more than a right text.
# Each lesson ends with exercises that check themselves. After the last one waits the
# [capstone](capstone.ipynb): a fragile training script that you make fit for work.
#
# Beside the way: [how to use these notebooks](how_to.ipynb) (kernel, restart, where your work is
# kept), a [glossary](glossary.ipynb), a [cheat sheet](cheat_sheet.ipynb) to print, and
# [what an error message means](faq.ipynb).
#
# The code you see comes from the package `course_utils`, which is tested like any other
# library. Lessons show the lines that matter; you may copy them into your own training job.

# %% tags=["nbval-ignore-output"]
from course_utils.lessons.solved import progress

progress()

# %% [markdown]
# `progress()` reads the exercise notebooks beside this page, as they were last saved.

# %% [markdown]
# ## Is this computer ready?
#
# The table is about your machine, so it will differ from the one stored here.

# %% tags=["nbval-ignore-output"]
from course_utils.lessons import lesson, plots

scratch = lesson.start("00_start_here")
environment = lesson.check_environment()
lesson.show_table(environment.items(), ["what", "here"])

# %% [markdown]
# A GPU and a C++ compiler are welcome, but the course runs without them: lesson 05 says what
# it skips. Everything a lesson writes goes to its own folder under `notebooks/scratch`, which
# is emptied each time the lesson starts.

# %%
assert environment["Python"].startswith(("3.11.", "3.12.", "3.13.")), "use Python 3.11 to 3.13"
assert environment["PyTorch"].startswith("2.14."), "the lessons were written for PyTorch 2.14"
print("fit for the course; this lesson writes to", scratch.as_posix())

# %% [markdown]
# ## Two minutes: train, kill, resume
#
# Here is what the whole course is for. We train a small network on 1,437 real handwritten
# digits. A second run is killed in the middle of an epoch and continued. Nothing may show that
# it was ever gone.
#
# First the digits.

# %% jupyter={"source_hidden": true}
from course_utils.lessons.data import digits

images, labels = digits().tensors
print(f"{len(images):,} images of {images.shape[2]} x {images.shape[3]} pixels for training")
print("the first twelve are", labels[:12].tolist())

fig, axes = plots.figure(7.5, 1.2, ncols=12)
for axis, image in zip(axes, images, strict=False):
    axis.imshow(image[0], cmap="gray_r")
    axis.axis("off")
plots.show(
    fig,
    alt="Twelve handwritten digits, eight by eight pixels each, dark ink on a light ground.",
    caption="The first twelve training images. They come with scikit-learn: no download.",
)

# %% [markdown]
# This is what will happen:

# %% jupyter={"source_hidden": true}
from course_utils.lessons import diagrams

diagrams.save_kill_resume()

# %% [markdown]
# Now the first run, in a process of its own, from start to end. It writes the loss of every
# step to a log, and saves a checkpoint every 22 steps.

# %%
from course_utils.lessons.steplog import read_log
from course_utils.lessons.training import train_in_new_process

status = train_in_new_process(scratch / "straight", "--epochs=4")
print("exit status", status)

# %% [markdown]
# The second run does the same, but we kill it at step 100, in the middle of its third epoch,
# with the signal SIGKILL. No program can catch this signal: no `finally`, no cleanup, nothing
# runs. It is as close to a power cut as one gets without a hand on the plug.

# %%
status = train_in_new_process(scratch / "killed", "--epochs=4", kill_at=100)
print("exit status", status, "(negative: killed by that signal)")

# %% [markdown]
# Start the same command again. It finds the newest checkpoint and goes on from there.
#
# **Predict.** The run was killed at step 100 and saves every 22 steps. Where does it go on, and
# how does the rest compare with the run that was never stopped?
#
# <details><summary>A. After step 100, and the rest is the same.</summary>
#
# Nothing of steps 89 to 100 is on the disk: the kill left no time to save. What was not saved is
# done again.
# </details>
# <details><summary>B. After step 88, and the losses are close, but not the same.</summary>
#
# The place is right: 88 is the last multiple of 22 before 100. *Close* is what most scripts get.
# If the checkpoint holds everything that decides the next step, the rest is the same to the last
# bit.
# </details>
# <details><summary>C. After step 88, and every loss, batch and weight is the same to the last
# bit.</summary>
#
# Right. Steps 89 to 100 are done again, from a checkpoint that holds all that decides the next
# step: weights, moments, schedule, random numbers, the place in the data.
# </details>
# <details><summary>D. At the start of epoch 3, step 91, since shuffling cannot be resumed in the
# middle.</summary>
#
# Many loaders cannot. This run saves its place within the epoch, too (lesson 02).
# </details>

# %%
status = train_in_new_process(scratch / "killed", "--epochs=4")

from course_utils.checkpoint import CheckpointManager
from course_utils.resume import differences

straight, killed = read_log(scratch / "straight"), read_log(scratch / "killed")
states = [CheckpointManager(scratch / run).restore() for run in ("straight", "killed")]
weights = [state["model"] for state in states]

other_losses = sum(a["loss"] != b["loss"] for a, b in zip(straight, killed, strict=True))
other_images = sum(a["images"] != b["images"] for a, b in zip(straight, killed, strict=True))
print(f"steps in each log: {len(straight)} and {len(killed)}")
print(f"steps whose loss differs in any bit: {other_losses} of {len(straight)}")
print(f"steps with other images, or in another order: {other_images} of {len(straight)}")
print(f"tensors of the model that differ: {len(differences(*weights))} of {len(weights[0])}")
print("places in the whole checkpoint that differ:", len(differences(*states)))
assert not (other_losses or other_images or differences(*states))

# %% jupyter={"source_hidden": true}
steps = [entry["step"] for entry in straight]
fig, axis = plots.figure()
axis.plot(steps, [entry["loss"] for entry in straight], color=plots.BLUE, lw=5, alpha=0.35)
axis.plot(steps, [entry["loss"] for entry in killed], color=plots.RED, lw=1.2)
axis.axvline(88, color=plots.GREY, ls="--", lw=1)
axis.axvline(100, color=plots.GREY, lw=1)
axis.set(xlabel="optimizer step", ylabel="training loss (nats)")
axis.text(87, 2.2, "resumed\nfrom here", ha="right", color="#444444")
axis.text(101, 2.2, "killed\nhere", color="#444444")
axis.legend(["never stopped", "killed and resumed"], loc="upper right")
plots.show(
    fig,
    alt="Training loss against optimizer step for two runs. It falls from 2.7 to about 0.6. "
    "The thin red line of the resumed run lies exactly on the wide blue line of the other.",
    caption="The thin line lies on the wide one at every step, also after the kill.",
)
for step in (1, 88, 89, 100, len(straight)):
    print(f"step {step:3}: {straight[step - 1]['loss']:.2f} and {killed[step - 1]['loss']:.2f}")

# %% [markdown]
# This is **exact resume**. It is harder than it looks: leave out the optimizer's moments, the
# random numbers or the place in the data, and the two lines part. Leave out others, and the lines
# stay together while the model is another one. Lesson 02 leaves the pieces out one by one.
#
# Here is the whole training loop. The state is gathered in one object, `run.state`, and saved by a
# manager that a kill at any moment cannot hurt. Lesson 02 builds the first, lesson 07 the second.

# %%
from course_utils.lessons.training import steps, train_one_epoch

lesson.show_source(train_one_epoch, steps)

# %% [markdown]
# **Try it:** kill the second run at another step (`kill_at=30`, in a new folder), and say first
# where it will go on.

# %% [markdown]
# ## In short
#
# | word | meaning |
# |---|---|
# | `state_dict` | a dictionary from names to tensors: what a model or an optimizer knows |
# | checkpoint | a file that holds all the state from which a run continues |
# | exact resume | the continued run gives the same bits as one that was never stopped |
#
# More words in the [glossary](glossary.ipynb).
#
# **Go on with [01 state_dict anatomy](01_state_dict_anatomy.ipynb).**
#
# Further reading: [Saving and loading models](https://docs.pytorch.org/tutorials/beginner/saving_loading_models.html)
# in PyTorch's own tutorials covers the basic calls. This course was written for PyTorch 2.14;
# where behaviour changed between versions, the lesson says so.

# %%
lesson.finish(scratch)
