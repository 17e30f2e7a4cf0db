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
# **Time:** 10 minutes. **Needs:** that you have trained a small network before. No GPU.

# %% [markdown]
# ## The way through
#
# | lesson | you learn | minutes |
# |---|---|---|
# | [01 state_dict anatomy](01_state_dict_anatomy.ipynb) | what a checkpoint file holds, byte by byte | 45 |
# | [02 Checkpoint and resume](02_checkpoint_and_resume.ipynb) | to stop a run anywhere and continue it exactly | 45 |
# | [03 Partial loading](03_partial_loading.ipynb) | to load the part that fits: transfer learning | 45 |
# | [04 map_location](04_map_location.ipynb) | to load a GPU's file on a laptop, and a large file in little memory | 40 |
# | [05 TorchScript](05_torchscript.ipynb) | to run a model from C++, without Python | 45 |
# | [06 Files you should not trust](06_untrusted_files.ipynb) | what a file can do to you, and how to look first | 40 |
# | [07 Checkpoints that survive](07_checkpoints_that_survive.ipynb) | to save through crashes and full disks, fast | 45 |
# | [08 Many processes](08_many_processes.ipynb) | to save from several processes and load into another number | 40 |
# | [09 After TorchScript](09_after_torchscript.ipynb) | which format to choose today | 40 |
#
# Take 01 and 02 in order. After them, go where your work leads you: 03 to 09 stand alone.
#
# Each lesson asks you to **predict** what a cell will print. Do it before you open the answer:
# a wrong guess teaches more than a right text. Each ends with exercises that check themselves.
#
# The code you see comes from the package `course_utils`, which is tested like any other
# library. Lessons show the lines that matter; you may copy them into your own training job.

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
print("Python 3.11 to 3.13:", environment["Python"].startswith(("3.11.", "3.12.", "3.13.")))
print("PyTorch 2.14:", environment["PyTorch"].startswith("2.14."))
print("scratch folder:", scratch.as_posix())

# %% [markdown]
# ## Two minutes: train, kill, resume
#
# Here is what the whole course is for. We train a small network on 1,437 real handwritten
# digits. A second run is killed in the middle of an epoch and continued. Nothing may show that
# it was ever gone.
#
# First the digits.

# %%
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
# <details><summary>Predict: after which step does it continue, and is the rest of the run
# the same as in the first run?</summary>
#
# After step 88: it saves every 22 steps, and 88 is the last multiple of 22 before 100.
# The steps from 89 on are done again. If the checkpoint holds everything that decides the
# next step, the rest is the same to the last bit.
# </details>

# %%
status = train_in_new_process(scratch / "killed", "--epochs=4")

# %%

from course_utils.checkpoint import CheckpointManager
from course_utils.resume import differences

straight, killed = read_log(scratch / "straight"), read_log(scratch / "killed")
states = [CheckpointManager(scratch / run).restore() for run in ("straight", "killed")]
weights = [state["model"] for state in states]

same_losses = [a["loss"] for a in straight] == [b["loss"] for b in killed]
same_images = [a["images"] for a in straight] == [b["images"] for b in killed]
print(f"steps in each log: {len(straight)} and {len(killed)}")
print("every loss is the same, to the last bit:", same_losses)
print("every batch held the same images, in the same order:", same_images)
print("tensors of the model that differ:", len(differences(*weights)))
print("places in the whole checkpoint that differ:", len(differences(*states)))
assert same_losses and same_images and not differences(*states)

# %%
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
# This is **exact resume**. It is harder than it looks: leave out any one piece (the optimizer's
# moments, the random numbers, the place in the data) and the two lines part. Lesson 02 leaves
# them out one by one and shows how far.
#
# Here is the whole training loop. The state is gathered in one object, `run.state`, and saved by a
# manager that a kill at any moment cannot hurt. Lesson 02 builds the first, lesson 07 the second.

# %%
from course_utils.lessons.training import steps, train_one_epoch

lesson.show_source(train_one_epoch, steps)

# %% [markdown]
# ## In short
#
# | word | meaning |
# |---|---|
# | `state_dict` | a dictionary from names to tensors: what a model or an optimizer knows |
# | checkpoint | a file that holds all the state from which a run continues |
# | exact resume | the continued run gives the same bits as one that was never stopped |
#
# **Go on with [01 state_dict anatomy](01_state_dict_anatomy.ipynb).**
#
# Further reading: [Saving and loading models](https://docs.pytorch.org/tutorials/beginner/saving_loading_models.html)
# in PyTorch's own tutorials covers the basic calls. This course was written for PyTorch 2.14;
# where behaviour changed between versions, the lesson says so.
