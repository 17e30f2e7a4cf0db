# %% [markdown]
# # 08 · Many processes
#
# A large model does not fit on one device, so it is spread over many processes. None of them
# has the whole state, all of them must save, and any of them may die while they do.
#
# After this lesson you will be able to
#
# - save a model from several processes and load it into any other number,
# - make the save count only when all have written, and find the last one that counts,
# - work out what a save costs from 1 process to 1,000, and what limits it.
#
# **Time:** 50 minutes. **Needs:** [02 Checkpoint and resume](02_checkpoint_and_resume.ipynb), and that you have heard of data-parallel training.
# No GPU: the processes run on this computer's processor.

# %% [markdown]
# **Do you remember?** Answer first, then open.
#
# <details><summary>How does an optimizer's state_dict name its parameters? (01)</summary>
#
# By position: 0, 1, 2, … in the order in which it was given them.
# </details>
# <details><summary>What makes a save of one file atomic? (07)</summary>
#
# A temporary file in the same folder, and `os.replace` when it is complete and flushed.
# </details>
# <details><summary>What decides the next step of a run besides weights and moments? (02)</summary>
#
# The schedule, the random numbers, the place in the data, the scaler, the average.
# </details>

# %% [markdown]
# ## 1. Nobody has the whole model
#
# A process of such a job is called a **rank**. Ranks are started together by `torchrun`, get
# numbers from 0, and talk over a *backend*: `gloo` between processors, `nccl` between GPUs.
#
# `fully_shard` (FSDP2) cuts each parameter along its first dimension and leaves each rank one
# **shard**. A layer is put together just before it is used, and dropped again after.
#
# The job we start is a module of the package. This is how it builds its model.

# %%
from course_utils.distributed import launch
from course_utils.lessons import lesson, plots
from course_utils.lessons import worker as distributed_worker

scratch = lesson.start("08_many_processes")
lesson.show_source(distributed_worker.new_run)

# %% [markdown]
# Two ranks train eight steps on the digits and save every four. `launch` runs `torchrun` and
# sorts what the ranks say.
#
# **Predict.** The network has 2,410 parameters. How many does each of the two ranks hold?
#
# <details><summary>A. 2,410: each rank has the model, and they share the data.</summary>
#
# That is data parallelism without sharding (DDP). `fully_shard` cuts the model as well.
# </details>
# <details><summary>B. 1,205.</summary>
#
# Right. Each parameter is cut in two along its first dimension, and all of them here (32, 32, 10,
# 10) are even. The optimizer's moments are cut the same way.
# </details>
# <details><summary>C. Rank 0 the first layer, rank 1 the second.</summary>
#
# That is pipeline parallelism. Sharding cuts *within* each parameter.
# </details>

# %%
run_folder = lesson.fresh(scratch / "run")
done = launch("course_utils.lessons.worker", run_folder, "--steps=8", ranks=2)
print(done)
assert done.status == 0

# %% [markdown]
# Do not start ranks from a notebook cell with `multiprocessing`: new processes cannot import
# what a cell defined, and forked ones hang after a backward pass. Start a module, as above.
#
# **Try it:** `ranks=5`. How many rows of the head's weight does each rank hold?

# %% [markdown]
# ## 2. The library's own calls
#
# First without any helper of ours. This is a whole program: FSDP2 spreads the model, and PyTorch's
# `torch.distributed.checkpoint` (DCP) saves and loads it. On the command line you would start it with
# `torchrun --nproc-per-node=2 -m course_utils.lessons.plain_dcp FOLDER save`.

# %%
from course_utils.lessons import plain_dcp

lesson.show_source(plain_dcp.main)

# %% [markdown]
# Three calls do the work. `get_state_dict` gives model and optimizer with *names* for parameters, also
# in the optimizer, and with `DTensor`s: each rank has its part, and each part knows the whole.
# `dcp.save` writes them. `dcp.load` does not return a state: it **fills** the one you hand it, and
# `set_state_dict` puts it back.

# %%
plain = lesson.fresh(scratch / "plain")
for action, ranks in (("save", 2), ("load", 3)):
    done = launch("course_utils.lessons.plain_dcp", plain, action, ranks=ranks)
    print(f"{action} with {ranks} ranks:\n{done}\n")
    assert done.status == 0

# %% [markdown]
# Saved by two, loaded by three, and the sum of the weight is the same: the rest of this lesson says how,
# and what can go wrong.
#
# In the background, the same is `dcp.async_save`. It copies the state and returns a future:

# %%
again = lesson.fresh(scratch / "plain again")
done = launch("course_utils.lessons.plain_dcp", again, "save in the background", ranks=2)
print(done)
assert done.status == 0

# %% [markdown]
# A folder that plain `dcp.save` wrote can be read by one process without any group: hand `dcp.load` a
# state of the right names and shapes. And `HuggingFaceStorageWriter` writes safetensors shards with
# their index, as the Hub has them.

# %%
import warnings

import torch
import torch.distributed.checkpoint as dcp
from safetensors.torch import load_file
from torch.distributed.checkpoint import HuggingFaceStorageWriter

from course_utils.lessons.models import MLP

warnings.filterwarnings("ignore", message="torch.distributed is disabled")

model = MLP()
dcp.load({"model": model.state_dict()}, checkpoint_id=plain)  # fills the model's own tensors
print(f"sum of the head's weight: {model.head.weight.sum().item():.6f}")

shards = lesson.fresh(scratch / "for the hub")
dcp.save(model.state_dict(), storage_writer=HuggingFaceStorageWriter(path=str(shards)))
print(sorted(path.name for path in shards.iterdir()))
written = load_file(shards / "model-00001-of-00001.safetensors")
print({name: tuple(tensor.shape) for name, tensor in written.items()})
assert all((written[name] == tensor).all() for name, tensor in model.state_dict().items())

# %% [markdown]
# Names decide what is loaded. A tensor in the folder that your state does not name is passed over **without a
# word**; a name that the folder lacks is an error. So look first. A reader lists the folder's names:

# %%
names = dcp.FileSystemReader(plain).read_metadata().state_dict_metadata
print(f"{len(names)} names, among them:")
print(*(name for name in names if "head" in name), sep="\n")
head = {"head.weight": torch.zeros(10, 32)}
dcp.load({"model": head}, checkpoint_id=plain)
print(f"asked for 1 of them, and got it: {head['head.weight'].sum().item():.6f}")
assert torch.equal(head["head.weight"], model.head.weight)

# %% [markdown]
# Any object with `state_dict` and `load_state_dict` (the protocol `Stateful`) may stand in the state: DCP
# calls both itself. So what is no tensor comes along, and finds its way back:


# %%
class Place:
    """The place in the data, counted in images."""

    def __init__(self, images=0):
        self.images = images

    def state_dict(self):
        return {"images": self.images}

    def load_state_dict(self, state):  # the dictionary of state_dict, filled
        self.images = state["images"]


folder = lesson.fresh(scratch / "place")
dcp.save({"place": Place(300)}, checkpoint_id=folder)
place = Place()
dcp.load({"place": place}, checkpoint_id=folder)
print("images:", place.images)
assert place.images == 300

# %% [markdown]
# What else to know of the library's side:
#
# - `StateDictOptions(full_state_dict=True, cpu_offload=True)` in `get_state_dict` gathers everything on
#   the CPU: for a model that fits into one process, and for `torch.save`.
# - Before the first step an optimizer's own `state_dict` has no moments: `dcp.load` finds nothing to fill, and
#   the moments in the folder are passed over. `get_state_dict` makes them first, by a step with zero gradients
#   and rate 0. Adam's counter then says 1. When you load, this is overwritten.
# - A learning rate is no tensor. `dcp.load` puts it into the dictionary, and only `set_state_dict` brings it
#   into the optimizer.
#
# **Try it:** load `{"model": {"head.weight": torch.zeros(10, 31)}}`. Who tells you that the shape is another?

# %% [markdown]
# ## 3. One file a rank, and an index
#
# The simplest save gathers everything on rank 0 and writes one file. It needs memory for the
# whole state on one machine, and all others wait. DCP lets each rank write what it has. Here is
# what our worker of section 1 wrote.

# %%
for path in sorted(run_folder.rglob("*")):
    if path.is_file():
        print(path.relative_to(run_folder).as_posix())

# %% [markdown]
# `__0_0.distcp` is rank 0's file. `.metadata` is the **index**: for each tensor its pieces, and
# for each piece its file, offset and length. Pieces have names and places, not rank numbers.
# That is why another number of ranks can load.

# %%
from course_utils.distributed.files import read_index


def pieces_of(checkpoint, name):
    """Return the (first row, rows, file) of each piece of a tensor."""
    index = read_index(checkpoint / ".metadata")
    return sorted(
        (chunk.offsets[0], chunk.sizes[0], index.storage_data[key].relative_path)
        for chunk in index.state_dict_metadata[name].chunks
        for key in index.storage_data
        if key.fqn == name and key.offset == chunk.offsets
    )


names = [
    "model.features.1.weight",
    "model.head.bias",
    "optimizer.state.head.bias.exp_avg",
    "optimizer.state.head.bias.step",
]
index = read_index(run_folder / "step-00000008" / ".metadata")
rows = [
    (name, tuple(info.size), len(info.chunks))
    for name in names
    for info in [index.state_dict_metadata[name]]
]
lesson.show_table(rows, ["name in the index", "whole shape", "pieces"])
assert [pieces for _, _, pieces in rows] == [2, 2, 2, 1]

# %% [markdown]
# The optimizer's state is filed under the parameter's **name**, not under its position as in
# lesson 01: ranks hold different parts, so positions would mean nothing. What all ranks have
# alike (`step`) is written once.
#
# **Try it:** `pieces_of(run_folder / "step-00000008", "optimizer.state.head.bias.exp_avg")`.

# %% [markdown]
# ## 4. Saved by two, loaded by one, three and four
#
# Three ranks load what two saved at step 8, and save at once what they got, so that we can
# compare. Four ranks do the same.

# %%
for ranks in (3, 4):
    copy = lesson.fresh(scratch / f"loaded by {ranks}")
    options = [f"--copy-to={copy}", "--steps=8"]
    done = launch("course_utils.lessons.worker", run_folder, *options, ranks=ranks)
    print(done, "\n")
    assert done.status == 0

# %% [markdown]
# This notebook is one process without any group. It loads too.

# %%
from course_utils.checkpoint import load_checkpoint
from course_utils.distributed import ShardedRun, load_sharded, save_sharded, to_one_file
from course_utils.resume import ResumableSampler, differences


def new_run():
    model = MLP()
    return ShardedRun(model, torch.optim.Adam(model.parameters(), 1e-3), ResumableSampler(1437))


def state_of(folder):
    """Return model, optimizer and place in the data of a sharded checkpoint, whole."""
    to_one_file(folder, scratch / "whole.pt", step=8)
    state = load_checkpoint(scratch / "whole.pt")
    return {part: state[part] for part in ("model", "optimizer", "sampler")}


run = new_run()
step = load_sharded(run_folder, run)
save_sharded(lesson.fresh(scratch / "loaded by 1"), step, run)

state_of_two = state_of(run_folder)
saved = state_of_two["model"]
for ranks in (1, 3, 4):
    different = differences(state_of_two, state_of(scratch / f"loaded by {ranks}"))
    print(f"saved by 2, loaded by {ranks}: {len(different)} differences, bit for bit")
    assert not different
in_memory = differences(saved, run.model.state_dict())
print(f"loaded here, into memory:      {len(in_memory)} differences")
assert step == 8 and not differences(saved, run.model.state_dict())

# %% [markdown]
# Each rank works out which rows it needs and reads them from the pieces that overlap.

# %% jupyter={"source_hidden": true}
name = "model.features.1.weight"
layouts = {
    2: pieces_of(run_folder / "step-00000008", name),
    3: pieces_of(scratch / "loaded by 3" / "step-00000008", name),
    4: pieces_of(scratch / "loaded by 4" / "step-00000008", name),
}
colors = [plots.BLUE, plots.RED, plots.GREEN, plots.GREY]
fig, axis = plots.figure(7.5, 2.6)
for y, pieces in enumerate(layouts.values()):
    for rank, (first, rows, _) in enumerate(pieces):
        axis.barh(y, rows, left=first, color=colors[rank], edgecolor="white", height=0.62)
        axis.text(first + rows / 2, y, f"rank {rank}", ha="center", va="center", color="white")
axis.axvline(layouts[2][1][0], color="#444444", ls="--", lw=1)
axis.set(xlabel="row of the weight", xlim=(0, 32), yticks=range(3))
axis.set_yticklabels([f"{ranks} ranks" for ranks in layouts])
axis.invert_yaxis()
axis.grid(visible=False)
plots.show(
    fig,
    alt="Three bars of 32 rows. With 2 ranks they are cut at row 16, with 3 at rows 11 and 22, "
    "with 4 at rows 8, 16 and 24. The dashed line at row 16 goes through rank 1 of three.",
    caption="Who holds which rows of one weight. Of three ranks, rank 1 needs rows on both sides of "
    "the dashed line, so it reads from both of the files that two ranks wrote.",
)
for ranks, pieces in layouts.items():
    print(f"{ranks} ranks:", ", ".join(f"rows {a} to {a + n - 1}" for a, n, _ in pieces))
assert [n for _, n, _ in layouts[3]] == [11, 11, 10]

# %% [markdown]
# ### Going on exactly
#
# Weights and moments are not enough to continue (lesson 02). Two more things need care here:
#
# - **The place in the data** is counted in images of the whole run. Were it "step 8 of rank 1",
#   it would mean nothing to three ranks. Each step takes the same 50 images, whoever shares them.
# - **Random numbers** are each rank's own. Rank 0's state is not rank 1's. A rank that did not
#   exist before has none, and gets new ones.
#
# With as many ranks as before the continued run is the same bit for bit (the package's tests
# check it, dropout included). With another number the same numbers are added in another order,
# and differ in the last bits. Without dropout, whose masks are each rank's own, we can see how far,
# four steps later:

# %% tags=["nbval-ignore-output"]
import math
import shutil

ends = {}
for ranks in (2, 3):
    folder = lesson.fresh(scratch / f"continued by {ranks}")
    shutil.copytree(run_folder, folder)
    done = launch("course_utils.lessons.worker", folder, "--steps=12", "--dropout=0", ranks=ranks)
    assert done.status == 0, done
    to_one_file(folder, scratch / "end.pt", step=12)
    ends[ranks] = load_checkpoint(scratch / "end.pt")["model"]
apart = max((ends[2][n].double() - ends[3][n].double()).abs().max().item() for n in ends[2])
power = math.floor(math.log10(apart))
print(f"largest difference of a weight after four steps, 2 against 3 ranks: about 1e{power}")
assert 0 < apart < 1e-6

# %% [markdown]
# That is rounding, and no reason to worry. It is also the reason why "bit for bit" is promised for the
# same number of ranks only.

# %%
lesson.show_source(save_sharded, load_sharded)

# %% [markdown]
# **Try it:** continue with one rank, and compare its weights with those of two.

# %% [markdown]
# ## 5. When does a checkpoint count?
#
# With one file, `os.replace` was the moment (lesson 07). With many files there is no such call.
# DCP's answer is to write the index last. But it lets you save into the same folder again, and
# only warns. We do what many training scripts do: save to `latest`, again and again.
#
# The second save dies after the first of two files.
#
# **Predict.** The second save to the same folder dies after the first of two files. What does
# loading `latest` give?
#
# <details><summary>A. The first save: the second was not finished.</summary>
#
# It was not, but one of its files is already in the place of the old one.
# </details>
# <details><summary>B. An error: the folder is incomplete.</summary>
#
# The index of the *first* save is still there, and everything it names exists.
# </details>
# <details><summary>C. Half of each, and no error.</summary>
#
# Right. The old index, one new file, one old: a model that no training ever had.
# </details>

# %%
from torch.distributed.checkpoint import FileSystemWriter
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystem


class DiesAtTheSecondFile(FileSystem):
    def create_stream(self, path, mode):
        if path.name == "__0_1.distcp":
            raise OSError("the machine is gone")
        return super().create_stream(path, mode)


def save_to_latest(value, file_system):
    state = {"a": torch.full((4,), value), "b": torch.full((4,), value)}
    writer = FileSystemWriter(scratch / "latest", single_file_per_rank=False)
    writer.fs = file_system
    dcp.save(state, storage_writer=writer)


lesson.fresh(scratch / "latest")
save_to_latest(1.0, FileSystem())
with warnings.catch_warnings():
    warnings.filterwarnings("ignore", message="Detected an existing checkpoint")
    try:
        save_to_latest(2.0, DiesAtTheSecondFile())
    except CheckpointException as error:  # its message holds whole tracebacks
        print({rank: repr(failure) for rank, (failure, _) in error.failures.items()})

state = {"a": torch.zeros(4), "b": torch.zeros(4)}
dcp.load(state, checkpoint_id=scratch / "latest")
print("a is", state["a"].tolist())
print("b is", state["b"].tolist())
assert state["a"].eq(2).all() and state["b"].eq(1).all()

# %% [markdown]
# Half of step 1 and half of step 2: a model that no training ever had, and no error. The last
# good checkpoint is gone.
#
# One more trap is in this cell. The usual `except Exception` around a save does not catch what DCP
# raises:

# %%
print(
    "CheckpointException derives from:",
    *(base.__name__ for base in CheckpointException.__mro__[1:]),
)
assert not issubclass(CheckpointException, Exception)

# %% [markdown]
# So: a **new folder for each step**, and a record, `commit.json`, that is written last, in one
# atomic step, and lists the files. A folder without it does not count.

# %%
from course_utils.distributed import commit
from course_utils.distributed.files import CommittingWriter

lesson.show_source(commit.commit, CommittingWriter)

# %% [markdown]
# Now a real death. Two ranks go on from step 8. While they save step 12, rank 1 is killed, after
# it wrote its file.

# %%
before = {path: path.read_bytes() for path in (run_folder / "step-00000008").iterdir()}
done = launch("course_utils.lessons.worker", run_folder, "--steps=12", "--kill-in-save=12", ranks=2)
print("the launcher's exit status:", done.status)
print("rank 1's last words:", done.output[1][-1])
print("times rank 0 said it was done:", sum("done" in line for line in done.output[0]))
assert done.status != 0 and not any("done" in line for line in done.output[0])

print("committed:", [path.name for path in commit.committed(run_folder)])
print("step 12 has", sorted(path.name for path in (run_folder / "step-00000012").iterdir()))
assert commit.step_of(commit.committed(run_folder)[-1]) == 8
assert before == {path: path.read_bytes() for path in before}
assert load_sharded(run_folder, new_run()) == 8

# %% [markdown]
# Rank 0 could not go on either: it waited for rank 1, lost the connection, and failed. The next
# start finds step 8, and saves step 12 anew. The package's tests kill at hundreds of random
# moments; what was announced as saved is always there.
#
# **Try it:** delete `commit.json` of step 8. What does `load_sharded` find now?

# %% [markdown]
# ## 6. A damaged shard
#
# DCP stores no checksum. We flip one bit in the middle of a weight, and let DCP load it.

# %%
damaged = lesson.fresh(scratch / "damaged")
shutil.copytree(run_folder, damaged)
checkpoint = damaged / "step-00000008"
index = read_index(checkpoint / ".metadata")
path = checkpoint / pieces_of(checkpoint, name)[0][2]  # the file with the weight's first row
content = bytearray(path.read_bytes())
first_row = saved["features.1.weight"][0].numpy().tobytes()
content[content.index(first_row) + 3] ^= 0b0100_0000  # the first number's exponent
path.write_bytes(content)

state = {"model": {n: torch.zeros_like(v) for n, v in MLP().state_dict().items()}}
dcp.load(state, checkpoint_id=checkpoint)
wrong = (state["model"]["features.1.weight"] != saved["features.1.weight"]).sum().item()
print("numbers that are wrong, with no error:", wrong)
now = state["model"]["features.1.weight"][0, 0].item()
print(f"the first weight was {saved['features.1.weight'][0, 0].item():.0e} and is now {now:.0e}")
assert wrong == 1 and abs(now) > 1e30

# %% [markdown]
# The commit record holds a checksum of each file. `load_sharded` checks them all before it
# touches the model; each rank reads its share of the files, so this is quick.

# %% tags=["nbval-ignore-output"]
from course_utils.errors import DamagedCheckpointError

with lesson.expect_error(DamagedCheckpointError, match="is damaged"):
    load_sharded(damaged, new_run(), step=8)

away = path.rename(path.with_suffix(".away"))
with lesson.expect_error(DamagedCheckpointError, match="is missing"):
    load_sharded(damaged, new_run(), step=8)
away = away.rename(path)

# %% [markdown]
# Asked for the newest, it takes the newest that is whole, and says what it skipped.

# %% tags=["nbval-ignore-output"]
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always", UserWarning)
    print("loaded step", load_sharded(damaged, new_run()))
skipped = [str(warning.message) for warning in caught if "skipped" in str(warning.message)]
lesson.print_folded(*skipped)
assert len(skipped) == 1 and path.name in skipped[0]

# %% [markdown]
# **Try it:** damage the index (`.metadata`) in place of a shard. Which error names it?

# %% [markdown]
# ## 7. Save while training goes on
#
# Writing takes long, copying to memory does not. `AsyncSaver` copies the state, lets training
# go on, and writes in a thread. It uses a process group of its own: the messages of a save must
# not mix with those of the training.

# %%
from course_utils.distributed import AsyncSaver

lesson.show_source(AsyncSaver.save, AsyncSaver.wait)

# %% [markdown]
# How long does training wait? A network of 32 MB, with Adam's moments 96 MB, saved both ways. The
# numbers are this computer's: its memory sets the pace of the copy, its disk that of the save.

# %% tags=["nbval-ignore-output"] jupyter={"source_hidden": true}
import time

large = torch.nn.Linear(2000, 4000)
large_run = ShardedRun(large, torch.optim.Adam(large.parameters()), ResumableSampler(10))
large(torch.ones(1, 2000)).sum().backward()
large_run.optimizer.step()
state_bytes = 3 * sum(p.nbytes for p in large.parameters())

waits = {"save_sharded": [], "AsyncSaver.save": []}
lesson.fresh(scratch / "large")
with AsyncSaver(scratch / "large") as saver:
    for step in (1, 3, 5):
        start = time.perf_counter()
        save_sharded(scratch / "large", step, large_run)
        waits["save_sharded"].append(time.perf_counter() - start)
        start = time.perf_counter()
        saver.save(step + 1, large_run)
        waits["AsyncSaver.save"].append(time.perf_counter() - start)
        saver.wait()
wait = {name: sorted(seconds)[1] for name, seconds in waits.items()}

fig, axis = plots.figure(6.5, 1.8)
axis.barh(list(wait), [1000 * seconds for seconds in wait.values()], color=plots.COLORS[:2])
plots.label_bars(axis, "{:.0f}")
axis.set(xlabel="training waits (milliseconds)")
axis.margins(x=0.1)
axis.invert_yaxis()
axis.grid(visible=False, axis="y")
plots.show(
    fig,
    alt="Two bars. Training waits several times longer for save_sharded than for AsyncSaver.",
    caption="Median of three. The background save only makes training wait for the copy.",
)
lesson.show_table(
    [
        (name, f"{1000 * seconds:.0f}", f"{state_bytes / 1e9 / seconds:.1f}")
        for name, seconds in wait.items()
    ],
    ["way to save", "training waits (ms)", "GB a second"],
)

# %% [markdown]
# The copy is taken at the moment of the call: what training does to the weights afterwards must
# not get into the file. A cell proves it.

# %%
run = new_run()
load_sharded(run_folder, run, step=8)
moment = run.model.head.weight.detach().clone()
lesson.fresh(scratch / "moment")
with AsyncSaver(scratch / "moment") as saver:
    saver.save(8, run)
    with torch.no_grad():
        run.model.head.weight.zero_()  # training goes on
again = new_run()
load_sharded(scratch / "moment", again)
late = (again.model.head.weight != moment).sum()
print(f"numbers in the file that are not those of the moment: {int(late)} of {moment.numel()}")
assert torch.equal(again.model.head.weight, moment) and not moment.eq(0).all()

# %% [markdown]
# **Try it:** call `saver.save` twice in a row without `wait`. What does the second call wait for?

# %% [markdown]
# ## 8. To one file and back
#
# To publish a model, or to look at it, one file is handier. `to_one_file` writes a verified `.pt`
# with everything, or a `.safetensors` with the model; `from_one_file` goes back. Safetensors has no
# checksums, so it says that nothing was verified.

# %%
from course_utils.distributed import from_one_file, load_sharded_model

to_one_file(run_folder, scratch / "model.safetensors", step=8)
published = load_file(scratch / "model.safetensors")
with lesson.show_warnings():
    from_one_file(scratch / "model.safetensors", lesson.fresh(scratch / "back"), step=0)
model = MLP()
load_sharded_model(scratch / "back", model)
back = model.state_dict()
changed = [n for n in back if (saved[n] != published[n]).any() or (saved[n] != back[n]).any()]
print(f"{len(published)} tensors; changed on the way there and back: {len(changed)}")
assert not changed

# %% [markdown]
# PyTorch's own converter (`python -m torch.distributed.checkpoint.format_utils`) loads with
# `weights_only=False`: use it on your own files only. The index itself is a pickle as well. Our
# reader follows the pickle without running it, and takes only what DCP writes. It also reads both
# forms of the index: PyTorch 2.15 writes six properties for a tensor where 2.14 expects five, and fails on them.
#
# `to_one_file` reads committed folders. For one that plain `dcp.save` wrote, as in section 2, there is
# `python -m torch.distributed.checkpoint.format_utils dcp_to_torch FOLDER FILE`.
#
# **Try it:** convert `scratch / "plain"` with it, and list the file with `ckpt inspect`.

# %% [markdown]
# ## 9. A thousand ranks
#
# We cannot start a thousand ranks here. But a save has four parts, and each can be worked out:
#
# | part | grows with | speed we take |
# |---|---|---|
# | host copy | bytes a rank holds | 50 GB/s: most of a PCIe 5.0 x16 slot's 64 GB/s |
# | network | bytes a node sends | 40 GB/s a node of 8: what NVIDIA's DGX SuperPOD aims at |
# | storage | all bytes together | 125 GB/s: the share of 1,024 GPUs in Llama 3's 2 TB/s for 16,384 |
# | planning | pieces: ranks times tensors | measured below |
#
# Planning is rank 0's work: it collects what every rank wants to write, merges it, and sends it
# back. It needs no other rank to be there, so we can time it with made-up plans.

# %% tags=["nbval-ignore-output"]
from course_utils.lessons.save_cost import Cluster, save_seconds, time_planning

rows, planning = [], 0.0
for ranks in (4, 16, 64, 256):
    seconds = time_planning(ranks, tensors=100)
    planning = seconds / (ranks * 100)
    rows.append((ranks, f"{ranks * 100:,}", f"{seconds:.2f}", f"{planning * 1e6:.0f}"))
lesson.show_table(rows, ["ranks", "pieces", "seconds", "microseconds a piece"])
assert 1e-6 < planning < 1e-3

# %% [markdown]
# Tens of microseconds a piece, on one core, in Python. Now the whole, for two cases: one model
# on more and more ranks, and a model that grows with them.
#
# **Predict.** One model of 7 billion parameters, 84 GB with Adam's moments. From 8 ranks to
# 1,000, how much faster does its save get?
#
# <details><summary>A. 125 times: each rank writes a 125th.</summary>
#
# Copy and network do. But all bytes go to one storage, and it takes them no faster.
# </details>
# <details><summary>B. Not at all beyond a few dozen ranks; it gets slower.</summary>
#
# Right. The storage takes the same bytes from however many ranks, and planning, on rank 0, grows
# with the pieces.
# </details>
# <details><summary>C. About 11 times, the square root.</summary>
#
# There is no such law: each part of a save grows in its own way, and the slowest binds.
# </details>

# %%
lesson.show_source(save_seconds)

# %% tags=["nbval-ignore-output"] jupyter={"source_hidden": true}
TENSORS = 3 * 291  # a Llama of 7 billion parameters: weights and two moments of each
cluster = Cluster(8, host_copy=50e9, network=40e9, storage=125e9, planning=planning)
cases = {
    "one model: 7 billion parameters, 84 GB": lambda ranks: 7e9 * 12,
    "a growing model: 4 GB a rank": lambda ranks: 4e9 * ranks,
}
counts = [2**power for power in range(11)]
parts = ["host copy", "network", "storage", "planning"]
fig, axes = plots.figure(9, 4, ncols=2, sharey=True)
for axis, (title, bytes_of) in zip(axes, cases.items(), strict=True):
    for part, color in zip(parts, plots.COLORS, strict=False):
        seconds = [save_seconds(cluster, n, bytes_of(n), TENSORS)[part] for n in counts]
        style = "--" if part == "planning" else "-"
        axis.plot(counts, seconds, style, color=color, lw=2, label=part)
    axis.set(xscale="log", yscale="log", title=title, xlabel="ranks", ylim=(1e-3, 1e2))
    axis.set_xticks([1, 10, 100, 1000], ["1", "10", "100", "1,000"])
axes[0].set_ylabel("time for one save (seconds)")
fig.legend(*axes[0].get_legend_handles_labels(), ncols=4, loc="outside upper center")
plots.show(
    fig,
    alt="Two log-log plots of save time against ranks, one line a part. Left, one model: host copy "
    "and network fall, storage is flat below one second, planning rises and ends highest. Right, a "
    "growing model: host copy is flat, storage and planning rise together with the ranks.",
    caption="The highest line binds. For one model that is the network at first and rank 0's "
    "planning in the end; for a growing model the storage, which all share, rises as fast.",
)
rows = []
for title, bytes_of in cases.items():
    for ranks in (1, 8, 64, 1024):
        seconds = save_seconds(cluster, ranks, bytes_of(ranks), TENSORS)
        binds = max(seconds, key=seconds.get)
        rows.append((title.split(":")[0], ranks, *(f"{seconds[p]:.2f}" for p in parts), binds))
lesson.show_table(rows, ["case", "ranks", *(f"{part} (s)" for part in parts), "binds"])

# %% [markdown]
# What follows from it, and what large jobs do:
#
# - **Only the host copy must make training wait**, and it is the one part that never grows. The
#   others go to the background. PyTorch's authors report waits of 6.3 s in place of 148.8 s for a
#   model of 7 billion parameters.
# - **Plan once.** The pieces are the same at each save. With
#   `dcp.save(…, planner=DefaultSavePlanner(enable_plan_caching=True))` ranks send their plans again
#   only when they change.
# - **Fewer pieces.** Ranks that hold copies of the same shard need not all take part in a save.
#
# The same with a planning time of 20 microseconds a piece, so that the numbers are the same on
# every computer:

# %%
cluster = Cluster(8, host_copy=50e9, network=40e9, storage=125e9, planning=20e-6)
few, many = (save_seconds(cluster, ranks, 7e9 * 12, TENSORS) for ranks in (8, 1024))
for ranks, seconds in ((8, few), (1024, many)):
    binds = max(seconds, key=seconds.get)
    print(f"{ranks:5,} ranks: {binds} binds, {seconds[binds]:4.1f} s; "
          f"training waits {seconds['host copy']:.3f} s for the copy")  # fmt: skip
assert few["storage"] == many["storage"] and many["host copy"] < few["host copy"] / 100

# %% [markdown]
# ### How often to save?
#
# Saving often costs waiting; saving seldom costs work done again. The loss is least (Young,
# 1974) when the interval is the square root of twice the wait times the time between failures.
# Llama 3's longest run met 419 unexpected failures in 54 days on 16,384 GPUs: one in 3.1 hours.

# %% jupyter={"source_hidden": true}
from course_utils.lessons.save_cost import best_interval, lost_share

between = 54 * 86_400 / 419
fig, axis = plots.figure(7.5, 3.4)
minutes = [2 ** (k / 4) for k in range(-12, 33)]
for (label, waiting), color in zip(
    {"waits 148.8 s": 148.8, "waits 6.3 s": 6.3}.items(), (plots.ORANGE, plots.BLUE), strict=True
):
    best = best_interval(waiting, between)
    lost = lost_share(best, waiting, between)
    axis.plot(minutes, [100 * lost_share(60 * m, waiting, between) for m in minutes],
              color=color, lw=2, label=label)  # fmt: skip
    axis.plot(best / 60, 100 * lost, "o", color=color)
    print(
        f"{label}: best every {best / 60:.0f} minutes, then {100 * lost:.0f} % of the time is lost"
    )
axis.set(xscale="log", ylim=(0, 40), xlabel="time between saves (minutes)",
         ylabel="time lost (%)")  # fmt: skip
axis.set_xticks([0.25, 1, 4, 15, 60, 240], ["¼", "1", "4", "15", "60", "240"])
axis.legend()
plots.show(
    fig,
    alt="Time lost against time between saves, two U-shaped curves. With 148.8 seconds of waiting "
    "the least loss is 16 percent at 30 minutes; with 6.3 seconds it is 3 percent at 6 minutes.",
    caption="A shorter wait lets you save more often, and so lose less when a rank dies.",
)

# %% [markdown]
# **Try it:** your own cluster: one failure in a week, a wait of 30 seconds. How often would you save?

# %% [markdown]
# ## In short
#
# | problem | answer |
# |---|---|
# | no rank has the whole state | each writes its part; the index says what is where |
# | another number of ranks | load by name: model, optimizer, place in the data; random numbers by rank |
# | a rank dies in the save | a new folder a step, a commit record written last |
# | a damaged or missing shard | checksums in the record, checked before anything is loaded |
# | DCP raises `CheckpointException` | it is a `BaseException`: catch it by name |
# | BatchNorm | each rank has its own statistics and one is saved: average them first, or use SyncBatchNorm |
# | a save before the first step | DCP makes Adam count one step too many; `save_sharded` undoes it |
# | abort when a rank ends | pytorch#190489: leave with `os._exit` after a barrier, as `process_group` does |
# | training waits | copy, then write in the background |
#
# **Your turn:** [exercises](exercises/08_many_processes.ipynb).
#
# Further reading, for PyTorch 2.14:
#
# - [torch.distributed.checkpoint](https://docs.pytorch.org/docs/stable/distributed.checkpoint.html)
#   and its [recipe](https://docs.pytorch.org/tutorials/recipes/distributed_checkpoint_recipe.html).
#   DCP has been in PyTorch since 2.1; `async_save` since 2.4 and still marked experimental.
# - [FSDP2, fully_shard](https://docs.pytorch.org/docs/stable/distributed.fsdp.fully_shard.html): the
#   older `FullyShardedDataParallel` cuts parameters otherwise.
# - [torchtitan](https://github.com/pytorch/torchtitan): a training system that uses all of this.
# - Sources of the numbers: [PyTorch blog, June 2024](https://pytorch.org/blog/reducing-checkpointing-times/)
#   (6.3 s and 148.8 s); [The Llama 3 Herd of Models](https://arxiv.org/abs/2407.21783), section 3.3
#   (storage, failures); [DGX SuperPOD reference architecture](https://docs.nvidia.com/dgx-superpod/reference-architecture-scalable-infrastructure-h100/latest/)
#   (40 GB/s a node).

# %%
lesson.finish(scratch)
