# %% [markdown]
# # 10 · Your framework's checkpoint
#
# Most runs are not trained by a loop of one's own. A framework saves them, and says that it can resume. **Is the
# resumed run the same run?** Here four of them are killed in the middle of an epoch, resumed, and compared bit for bit
# with a run that was never stopped.
#
# After this lesson you will be able to
#
# - say what Lightning, accelerate, the Trainer of transformers and a plain DCP loop write, file by file,
# - measure whether *your* framework resumes exactly, in a minute,
# - repair what it loses with a few lines.
#
# **Time:** 40 minutes. **Needs:** [02 Checkpoint and resume](02_checkpoint_and_resume.ipynb),
# [08 Many processes](08_many_processes.ipynb). The frameworks are an extra of their own: if the next code cell asks for
# them, run `pip install -e ".[frameworks]"` in the course's folder.

# %% [markdown]
# **Do you remember?** Answer first, then open.
#
# <details><summary>What does beginning to iterate a DataLoader do to the global generator? (02)</summary>
#
# It draws one number for the workers' seeds, unless the loader has a generator of its own; a shuffled loader draws
# its seed as well.
# </details>
# <details><summary>Why is the same loss after a resume no proof? (02)</summary>
#
# The loss of one step hardly shows other batches, and does not show buffers or the optimizer's state at all.
# </details>
# <details><summary>Which calls save and load a sharded model without any helper? (08)</summary>
#
# `get_state_dict`, `dcp.save`, `dcp.load`, `set_state_dict`.
# </details>

# %%
from course_utils.lessons import lesson, plots
from course_utils.lessons.frameworks import start, tiny_run
from course_utils.lessons.frameworks.look import look

start.require_frameworks()
scratch = lesson.start("10_your_frameworks_checkpoint")

# %% [markdown]
# ## 1. One run, four ways to train it
#
# The run is tiny: 48 digits, batches of 8, so **six steps an epoch**, three epochs; dropout, Adam, and a schedule that
# halves the rate every fourth step. It is saved after step 9 and killed (SIGKILL) inside step 11. A process that resumes
# has nine steps to take: three of the second epoch, six of the third.

# %%
lesson.show_source(tiny_run.TinyModel, tiny_run.new_optimizer, tiny_run.new_loader)

# %% [markdown]
# The model notes the numbers of the images that it is trained on. That is all the instrument that is needed: the batches
# of two runs can be compared, and at the end weights, moments and counters.
#
# This is the run with accelerate, all of it. Two of its lines belong to repairs that come later.

# %%
lesson.show_source_of("course_utils.lessons.frameworks.with_accelerate", "train")

# %% [markdown]
# Now all four, each straight, killed and resumed, every time in a process of its own. This takes half a minute on two free cores: nearly all
# of it goes into importing the frameworks.

# %%
running = start.start_all(scratch)
results = {}
for name in lesson.progress(list(running), "frameworks"):
    results[name] = running[name].result()
print("frameworks:", *results)

# %% [markdown]
# **Try it:** `KILL_AT = 17` in `course_utils/lessons/frameworks/tiny_run.py`, which lies in the course's folder, then
# restart the kernel. Which numbers of section 3 change?

# %% [markdown]
# ## 2. What they write
#
# First the files of step 9, opened with our readers, which run nothing. The verdict is that of `ckpt audit`: *plain data* is
# what `torch.load(weights_only=True)` takes. (Of DCP's index, `.metadata`, it says that it names
# places and nothing else: DCP itself unpickles it without a check.)

# %%
rows = [
    (name, path.name, *look(path))
    for name in results
    for path in start.checkpoint_of(name, scratch / name / tiny_run.AS_IT_IS / "straight")
]
lesson.show_table(rows, ["framework", "file", "loading it", "holds"])
verdicts = {file: verdict for _, file, verdict, _ in rows}
assert verdicts["step=9.ckpt"] == verdicts["optimizer.pt"] == "plain data"
assert verdicts["training_args.bin"] == "would run code"
assert verdicts["rng_state.pth"] == verdicts["random_states_0.pkl"] == "needs these globals"

# %% [markdown]
# What to see in it:
#
# - **Lightning** has everything in one file, and no entry for random numbers. `loops` counts batches; no entry says in
#   which *order* they came.
# - **accelerate** saves the generators of Python, NumPy and PyTorch. Nothing says where in the epoch the run stood: that is
#   yours to remember.
# - The **Trainer** has generators and a place: `global_step` and `epoch` in `trainer_state.json`.
# - **DCP** writes what it was handed: model and optimizer.
#
# The generators' files need NumPy's classes, so `weights_only=True` refuses them as they are; both frameworks allow those
# few names themselves when they load. `training_args.bin` is a pickled object: it is not needed to resume, and in a
# stranger's repository it is the file not to open.

# %%
from course_utils.safety import audit

folder = scratch / "trainer" / tiny_run.AS_IT_IS / "straight"
arguments = [path for path in start.checkpoint_of("trainer", folder) if path.suffix == ".bin"]
for call in audit(arguments[0]).calls[:3]:
    print(call)

# %% [markdown]
# **Predict.** Which of the four will go on in the middle of the second epoch with the right images?
#
# <details><summary>A. All but plain DCP: resuming is what frameworks are for.</summary>
#
# They all resume *something*. Look again at what their files know of the order.
# </details>
# <details><summary>B. The Trainer only.</summary>
#
# Right. It alone has both a place and an order that follows from a seed.
# </details>
# <details><summary>C. accelerate and the Trainer: both save the generators.</summary>
#
# accelerate's generators are those of step 9. The order of the second epoch was drawn before step 7.
# </details>
#
# **Try it:** `ckpt inspect` on the file of Lightning. What do its `loops` hold?

# %% [markdown]
# ## 3. Do they resume?


# %%
def table_of(rows):
    lesson.show_table(
        [
            (
                name,
                f"{r.batches_alike} of 9",
                r.repeated,
                r.never_seen,
                f"{r.differing} of {r.tensors}",
                "yes" if not r.differing else "no",
            )
            for name, r in rows
        ],
        ["run", "batches alike", "images twice", "never", "tensors that differ", "exact"],
    )


as_it_is = {name: ways[tiny_run.AS_IT_IS] for name, ways in results.items()}
table_of(as_it_is.items())
assert [name for name, result in as_it_is.items() if not result.differing] == ["trainer"]
assert as_it_is["dcp"].repeated == 24 and as_it_is["dcp"].never_seen == 0
assert all(as_it_is[name].never_seen for name in ("lightning", "accelerate"))

# %% [markdown]
# No error, no warning, and the losses look like losses. This is the second epoch, image by image:

# %% jupyter={"source_hidden": true}
fig, axis = plots.figure(8, 2.4)
colors = {0: plots.RED, 1: "#E6E6E2", 2: plots.BLUE}
for row, result in enumerate(as_it_is.values()):
    for image, times in enumerate(result.times):
        axis.barh(row, 0.9, left=image, color=colors[times])
for times, text in ((0, "never"), (1, "once"), (2, "twice")):
    axis.barh(0, 0, color=colors[times], label=text)
axis.set_yticks(range(len(as_it_is)), as_it_is)
axis.set(xlabel="image (number in the training set)", xlim=(0, 48))
axis.invert_yaxis()
axis.grid(visible=False)
fig.legend(ncols=3, loc="outside upper center")
plots.show(
    fig,
    alt="Four rows of 48 cells. The Trainer's cells are all grey: once. Lightning and accelerate have red "
    "cells, never, and as many blue ones, twice. For DCP half of the cells are blue.",
    caption="How often each image was trained on in the second epoch of the resumed run. An epoch should be grey.",
)
lesson.show_table(
    [(name, *(r.times.count(n) for n in (0, 1, 2))) for name, r in as_it_is.items()],
    ["run", "never", "once", "twice"],
)

# %% [markdown]
# Why?
#
# - **Lightning** goes on at batch 4 of 6, as its `loops` say, but of a **new** permutation. Ten images are seen twice in that
#   epoch and ten never. Dropout begins anew, too.
# - **accelerate**: `skip_first_batches` skips three batches of a new permutation.
# - The **Trainer** seeds the order of each epoch by its number, skips the batches that are done, and puts the generators back *after* that.
# - **DCP** knows neither place nor generators, and nobody handed it the schedule. The epoch begins anew, and the schedule
#   counts from 0.
#
# **Try it:** train with `num_train_epochs=3` and `data_seed=1` in `with_trainer.py`, beside `tiny_run.py`. Is it still
# exact?

# %% [markdown]
# ## 4. Half a repair
#
# For accelerate, the advice that is given most is `DataLoaderConfiguration(use_seedable_sampler=True)` and `set_epoch`: the order of an
# epoch then follows from a seed and its number.
#
# **Predict.** With it, all nine batches hold the right images. Are the weights the same at the end?
#
# <details><summary>A. Yes: same weights, moments, images, and generators from the file.</summary>
#
# So one would think. But what happened to the generators between loading them and the first batch?
# </details>
# <details><summary>B. No: dropout draws other numbers.</summary>
#
# Right. Iterating begins once more than in the straight run, and draws from the global generator when it does.
# </details>
# <details><summary>C. Nearly: they differ by rounding.</summary>
#
# The same operations on the same numbers in the same order round in the same way.
# </details>

# %%
half = results["accelerate"]["seedable sampler"]
table_of([("accelerate, seedable sampler", half)])
assert half.batches_alike == 9 and half.differing

# %% [markdown]
# A comparison of batches would have been content, and one of losses as well. Here is what happens, without any framework:

# %%
import torch

loader = torch.utils.data.DataLoader(range(4), batch_size=2)
for name, generator in (("global generator", None), ("its own generator", torch.Generator())):
    loader = torch.utils.data.DataLoader(range(4), batch_size=2, generator=generator)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    iter(loader)
    changed = not torch.equal(before, torch.get_rng_state())
    print(f"a loader with {name}: the global generator", "moved" if changed else "stayed")
    assert changed == (generator is None)

# %% [markdown]
# So the missing half is a `generator` for the loader, as the repaired way in the code of section 1 has it.
#
# **Try it:** put the generators back by hand, after the first batch is there, in place of the loader's own generator.

# %% [markdown]
# ## 5. The smallest repair for each
#
# **accelerate**: the two lines of section 1.
#
# **Lightning** saves the state of callbacks. This one saves the place and the generators, in Lightning's own file. The
# generators go back at the first batch, when everything that could draw has drawn.

# %%
lesson.show_source_of(
    "course_utils.lessons.frameworks.with_lightning", "WholeEpochs", "Place", "train"
)

# %% [markdown]
# **DCP** takes anything with `state_dict` and `load_state_dict`, so the repair is one line of the loop: schedule, sampler and generators
# beside model and optimizer.

# %%
lesson.show_source_of("course_utils.lessons.frameworks.with_dcp", "train")

# %% [markdown]
# With one rank that is enough. Of many ranks each draws its own random numbers, and one value for all would be wrong:
# `ShardedRun` of lesson 08 keeps them apart.
#
# The runs with the repairs were measured above, together with the others:

# %%
repaired = {name: ways.get(tiny_run.REPAIRED, as_it_is[name]) for name, ways in results.items()}
table_of(repaired.items())
assert not any(result.differing for result in repaired.values())

# %% [markdown]
# The Trainer's row is the one from before. Are the repairs needed to their last line? The package's tests leave out one part after
# the other (generators, place, schedule, moments), and each time the runs differ.
#
# And what was added to the file of Lightning? It must stay plain data:

# %%
path = start.checkpoint_of("lightning", scratch / "lightning" / tiny_run.REPAIRED / "straight")[0]
state = torch.load(path, weights_only=True)
print("callbacks:", [name.partition("{")[0] for name in state["callbacks"]])
print("place:", state["callbacks"]["Place"]["sampler"])
assert state["callbacks"]["Place"]["sampler"]["position"] == 24

# %% [markdown]
# **Try it:** leave out `WholeEpochs` and hand Lightning the `ResumableSampler` itself. At which step does it end?

# %% [markdown]
# ## 6. Measure your own
#
# Whatever you train with, now or after its next release: the measurement is three processes and two comparisons.

# %%
lesson.show_source(tiny_run.measure, tiny_run.Attempt.watch)

# %% [markdown]
# What these results do *not* say: they hold for these versions, one process, no workers, and a stop in the middle of an
# epoch. With gradient accumulation a save between two steps needs the gradients (lesson 02); with many ranks, each rank's
# generators.

# %%
from importlib.metadata import version

packages = ("torch", "lightning", "accelerate", "transformers")
lesson.show_table(
    [(name, version(name).partition("+")[0]) for name in packages], ["package", "measured with"]
)

# %% [markdown]
# **Try it:** save after step 12, the end of an epoch. Which of the four are exact now?

# %% [markdown]
# ## In short
#
# | framework | lost in mid-epoch | smallest repair |
# |---|---|---|
# | Lightning | the order, the generators | a sampler that knows its place, and a callback that saves it and the generators |
# | accelerate | the order; one draw too many | a seedable sampler, and a generator for the loader |
# | Trainer of transformers | nothing | none |
# | FSDP2 and DCP | place, generators, schedule | hand them to `dcp.save` as well |
#
# - Batches alike are no proof, losses even less: compare weights and moments, to the last bit.
# - Plain data to resume from; of a stranger's folder take the `model.safetensors` and leave the `.bin` files.
#
# **Your turn:** [the exercises of this lesson](exercises/10_your_frameworks_checkpoint.ipynb). And then the
# [capstone](capstone.ipynb).
#
# Further reading: [Lightning on checkpoints](https://lightning.ai/docs/pytorch/stable/common/checkpointing.html) (2.6);
# [accelerate on checkpoints](https://huggingface.co/docs/accelerate/usage_guides/checkpoint) (1.15);
# [the Trainer](https://huggingface.co/docs/transformers/main_classes/trainer) (5.24);
# [DCP](https://docs.pytorch.org/docs/stable/distributed.checkpoint.html).

# %%
lesson.finish(scratch)
