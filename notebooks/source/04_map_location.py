# %% [markdown]
# # 04 · map_location
#
# A tensor lives on a device, and a file remembers which one. This lesson is about what happens when
# the machine that loads is not the machine that saved, and about loading models that barely
# fit into memory.
#
# After it you will be able to
#
# - see which devices a file asks for, before loading it, and send its tensors where you want them,
# - bring a model *and* its optimizer to another device so that training goes on,
# - load a large model with one copy of it in memory instead of two, and know what that breaks.
#
# **Time:** 40 minutes. **Needs:** [01 state_dict anatomy](01_state_dict_anatomy.ipynb). No GPU.

# %% [markdown]
# **Do you remember?** Answer first, then open.
#
# <details><summary>What stands beside each storage in the pickle of a <code>.pt</code> file? (01)</summary>
#
# Its type, its record, its device and its length: `FloatStorage`, `data/0`, `cpu`, 256.
# </details>
# <details><summary>Which random-number state must stay on the CPU? (02)</summary>
#
# Every generator's state is a CPU tensor, also the GPU's. `map_location="cuda"` moves it.
# </details>
# <details><summary>What does an optimizer do with a parameter that was replaced in the model? (03)</summary>
#
# It keeps the old one. The new one is never trained.
# </details>

# %%
import copy
import os
import time
from pathlib import Path
from unittest import mock

os.environ["CUDA_VISIBLE_DEVICES"] = ""  # a GPU, if you have one, is not seen in this lesson

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.functional import cross_entropy

from course_utils import errors
from course_utils.anatomy import read_archive
from course_utils.checkpoint import restore_checkpoint
from course_utils.devices import map_location as devices
from course_utils.devices import meta_device
from course_utils.lessons import big_model, diagrams, lesson, measure, plots
from course_utils.lessons.data import digits
from course_utils.lessons.models import MLP, TiedAutoencoder

scratch = lesson.start("04_map_location")

# %% [markdown]
# ## 1. Every storage has a tag
#
# `torch.save` writes one small word next to each storage: the device it was on. This is the **location
# tag**, such as `cpu`, `cuda:0` or `mps`.
#
# We need a file from a GPU. `data/saved_on_gpu.pt` is one, with a reservation: when it was made no
# GPU could be had. It was trained on a CPU and **retagged**: saved with the tags that a GPU would have
# given. The file says so itself. For loading on a machine without a GPU this makes no
# difference, since there only the tags count.

# %%
path = Path("data/saved_on_gpu.pt")
archive = read_archive(path)
for opcode in archive.opcodes():
    if opcode.name in ("BINUNICODE", "GLOBAL", "BININT1", "BINPERSID"):
        print(f"{opcode.position:4} {opcode.name:11} {opcode.argument or ''}")
    if opcode.name == "BINPERSID":
        break

# %% [markdown]
# That is the start of the file's pickle, up to its first storage: a `FloatStorage`, in record `0`,
# on `cuda:0`, with 72 numbers. Counting all the tags needs no GPU and loads nothing.
#
# **Predict.** Model, Adam and a batch of images were saved from a training on a GPU. Which tags
# are in the file?
#
# <details><summary>A. <code>cuda:0</code> for everything.</summary>
#
# All but one kind of tensor.
# </details>
# <details><summary>B. <code>cuda:0</code>, and <code>cpu</code> for Adam's step
# counters.</summary>
#
# Right. Adam looks at its step count on the CPU, where looking is cheap: one small tensor for
# each of six parameters.
# </details>
# <details><summary>C. <code>cuda:0</code> for the model, <code>cpu</code> for the
# optimizer.</summary>
#
# The moments live beside their parameters, on the GPU. Else each step would wait for the bus.
# </details>
# <details><summary>D. None: tensors are moved to the CPU before they are saved.</summary>
#
# Their bytes are. The tag remembers where they were, and that is where they go back.
# </details>

# %%
locations = devices.storage_locations(path)
lesson.show_table(
    [(tag, len(names), ", ".join(names[:2]) + ", …") for tag, names in locations.items()],
    ["tag", "tensors", "such as"],
)
assert [name.rpartition(".")[2] for name in locations["cpu"]] == ["step"] * 6

# %% [markdown]
# **Try it:** `storage_locations` on a checkpoint of your own. Does it ask for a device you no longer have?

# %% [markdown]
# ## 2. The famous error, and four ways around it
#
# Without `map_location`, every tensor goes back to where it came from. If there is no such place,
# you get one of the best known errors of PyTorch.


# %%
def cuda_error():
    """Expect the error of a machine without a GPU, and print it."""
    return lesson.expect_error(
        RuntimeError, match="Attempting to deserialize object on a CUDA device"
    )


with cuda_error():
    torch.load(path)["model"]["0.weight"].to("cpu")  # never gets as far as .to

# %% [markdown]
# The message names the cure. Literally:

# %%
checkpoint = torch.load(path, map_location=torch.device("cpu"))
print("first weight:", checkpoint["model"]["0.weight"].device)
print("made on:     ", checkpoint["made_on"]["device"])

# %% [markdown]
# `map_location` takes four kinds of values.

# %%
ways = {
    "a string": "cpu",
    "a torch.device": torch.device("cpu"),
    "a dict from tag to device": {"cuda:0": "cpu"},
    "a function of storage and tag": lambda storage, tag: storage,
}
for name, way in ways.items():
    state = torch.load(path, map_location=way)
    print(f"{name:30} → {state['model']['0.weight'].device}")
    assert torch.equal(state["model"]["0.weight"], checkpoint["model"]["0.weight"])

# %% [markdown]
# A string or a device sends *everything* there. A dict renames tags; what it does not name stays. A
# function gets each storage, already read to the CPU, and its tag, and returns where the storage ends up;
# returning it unchanged means CPU. If it returns `None`, the tag decides.
#
# **Predict.** The file holds `cuda:0`. We pass `map_location={"cuda:1": "cpu"}` on a machine
# without a GPU. What happens?
#
# <details><summary>A. It loads to the CPU: a <code>map_location</code> was given.</summary>
#
# Only for the tags that the dict names. `cuda:1` is not in the file.
# </details>
# <details><summary>B. An error that says: unknown tag <code>cuda:1</code>.</summary>
#
# It would be welcome. Names that are not in the file are ignored.
# </details>
# <details><summary>C. The famous error again, word for word.</summary>
#
# Right. What the dict does not name "stays", and the message says to use `map_location`, which is
# just what you did.
# </details>

# %%
famous = "If you are running on a CPU-only machine, please use torch.load with map_location"
for wrong in ({"cuda:1": "cpu"}, "cuda", lambda storage, tag: None):
    try:
        torch.load(path, map_location=wrong)
    except RuntimeError as error:
        answer = "the famous error, word for word" if famous in str(error) else error
        print(str(wrong).partition(" at 0x")[0].ljust(22), "→", answer)

# %% [markdown]
# You can see where tensors *would* go, even to devices you do not have, with fake tensors: shapes and
# devices without data.


# %%
def would_go(map_location):
    """Where the model's first weight and Adam's first counter would be loaded to."""
    with FakeTensorMode():
        state = torch.load(path, map_location=map_location)
    return [
        str(t.device) for t in (state["model"]["0.weight"], state["optimizer"]["state"][0]["step"])
    ]


rows = [
    (str(way), *would_go(way))
    for way in (None, "cpu", "cuda:1", {"cuda:0": "cuda:1"}, {"cuda:1": "cpu"}, "meta")
]
lesson.show_table(rows, ["map_location", "weight goes to", "Adam's step goes to"])

# %% [markdown]
# Look at the third line: the string `"cuda:1"` also moves Adam's counters. Section 4 says why this
# is not quite right, and why it is usually harmless.
#
# So which one to pass?

# %% jupyter={"source_hidden": true}
diagrams.choose_map_location()

# %% [markdown]
# **Try it:** write the function that sends `cuda:0` to `cuda:1` and everything else to the CPU, and test it
# with `would_go`.
#
# ## 3. One place that decides
#
# In a training script the device comes from a flag, a config or the launcher. `resolve_map_location` turns
# any of these into something that works *here* with *this* file, or says at once what is wrong, before
# gigabytes are read.

# %%
for wish in ["cuda", {"cuda:1": "cpu"}, 1]:
    with lesson.expect_error(errors.MissingDeviceError):
        devices.resolve_map_location(wish, path)
print(devices.resolve_map_location("cpu", path))

# %% [markdown]
# **Every process on the same GPU.** Eight processes, one for each GPU, load the same file. It was saved by
# the first of them, so all its tags say `cuda:0`. We pretend to have two GPUs, with fake tensors.
#
# **Predict.** Process 1 of two calls `torch.load(path)` without `map_location`. On which GPU do
# the tensors arrive?
#
# <details><summary>A. On <code>cuda:1</code>, its own: the launcher set it.</summary>
#
# The launcher sets `LOCAL_RANK`, and `set_device` sets the default for *new* tensors. The file's
# tags know neither.
# </details>
# <details><summary>B. On <code>cuda:0</code>.</summary>
#
# Right, like those of all others. With eight processes the first GPU holds eight copies and runs
# out of memory while the rest idle.
# </details>
# <details><summary>C. On the CPU, until they are used.</summary>
#
# Without `map_location` tensors go where their tag says.
# </details>

# %%
two_gpus = mock.patch.multiple(torch.cuda, is_available=lambda: True, device_count=lambda: 2)
for rank in ("0", "1"):
    with two_gpus, mock.patch.dict(os.environ, LOCAL_RANK=rank):
        right = devices.resolve_map_location("local rank", path)
        print(
            f"process {rank}: without {would_go(None)[0]}, with 'local rank' {would_go(right)[0]}"
        )
        assert would_go(None)[0] == "cuda:0" and would_go(right)[0] == f"cuda:{rank}"

# %% [markdown]
# The simplest rule is safer still: **load to the CPU, then copy into a model that is already where it
# belongs.** `load_state_dict` copies across devices.
#
# **Try it:** `resolve_map_location({"cuda:0": "cpu"}, path)`. Why is that one accepted?

# %%
lesson.show_source(devices.resolve_map_location)

# %% [markdown]
# ## 4. The optimizer must follow
#
# A checkpoint holds more than weights. The model and its Adam state of our file go on training here. The file
# has a check batch, so we can see that the model is the right one.


# %%
def build():
    """The network that was saved: a convolution, BatchNorm and a linear head."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(),
        nn.Linear(512, 10),
    )  # fmt: skip


model = build()  # 1. the model, on its device
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)  # 2. the optimizer of these parameters
model.load_state_dict(checkpoint["model"])  # 3. both states
optimizer.load_state_dict(checkpoint["optimizer"])

check = checkpoint["check"]
with torch.no_grad():
    logits = model.eval()(check["images"])
agree = (logits.argmax(1) == check["logits"].argmax(1)).sum()
print(f"answers as when it was saved: {int(agree)} of {len(logits)}")
print("steps done:", int(optimizer.state[model[0].weight]["step"]))
assert torch.allclose(logits, check["logits"], atol=1e-4)

# %% [markdown]
# The order in this cell is the safe one: **model to its device, optimizer, then load.** Loading
# casts Adam's moments to the device and dtype of each parameter. But if the model moves *afterwards*, the
# state stays behind, and on a GPU the next step fails with "Expected all tensors to be on the same
# device". Without a GPU we can see where things are, with the meta device in its place.
#
# *The rest of this section matters when you train on GPUs. You may skip it and come back.*


# %%
def parameters_moved(optimizer, device):
    """Do to an optimizer what ``model.to(device)`` does: parameters move, state does not."""
    moved = copy.deepcopy(optimizer)
    for group in moved.param_groups:
        for i, old in enumerate(group["params"]):
            group["params"][i] = nn.Parameter(old.detach().to(device))
            moved.state[group["params"][i]] = moved.state.pop(old)
    return moved


def places(optimizer):
    """The device of the first parameter and of each part of its state."""
    parameter = optimizer.param_groups[0]["params"][0]
    state = optimizer.state[parameter]
    return [parameter.device.type, *(value.device.type for value in state.values())]


rows = []
for name, option in [("as usual", {}), ("fused=True", {"fused": True})]:
    moved = parameters_moved(optimizer, "meta")
    moved.param_groups[0].update(option)
    rows.append((f"{name}, model moved", *places(moved)))
    devices.move_optimizer(moved)
    rows.append((f"{name}, after move_optimizer", *places(moved)))
lesson.show_table(rows, ["Adam", "parameter", "step", "exp_avg", "exp_avg_sq"])
assert rows[1][1:] == ("meta", "cpu", "meta", "meta") and rows[3][1:] == ("meta",) * 4

# %% [markdown]
# `step` is special. Adam needs its value on the CPU, to compute a learning rate; on a GPU, each look
# at it would wait for the GPU. Only the variants that compute on the GPU itself want it there: `fused`, and
# `capturable` for CUDA graphs. So the loop from many forum answers, "move every tensor in
# `optimizer.state` to the GPU", is wrong for one of the two. In older versions of PyTorch it ended in an
# assertion; `move_optimizer` asks the group.
#
# The reverse happens as well: options are part of the saved groups, so a checkpoint from a
# `capturable` optimizer makes *this* optimizer capturable. A CPU refuses.

# %%
from_graphs = copy.deepcopy(optimizer.state_dict())
from_graphs["param_groups"][0]["capturable"] = True
optimizer.load_state_dict(from_graphs)
images, labels = digits().tensors


def step():
    """Train one step on 100 digits."""
    optimizer.zero_grad()
    loss = cross_entropy(model.train()(images[:100]), labels[:100])
    loss.backward()
    optimizer.step()


with lesson.expect_error(AssertionError, match="If capturable=True"):
    step()
devices.move_optimizer(optimizer)
counter = optimizer.state[model[0].weight]["step"]
before = int(counter)
step()
print("and now a step is taken: the counter went up by", int(counter) - before)
assert int(counter) == before + 1
lesson.show_source(devices.move_optimizer)

# %% [markdown]
# **Try it:** load the state *before* `model.half()`. Which dtype have the moments then?

# %% [markdown]
# ## 5. The dtype at load
#
# Where a tensor goes is one question, in which precision another.
#
# **Predict.** The file holds float32, the model is float16. Which dtype has the model after
# `load_state_dict`, and after `load_state_dict(…, assign=True)`?
#
# <details><summary>A. float32 and float32: the file wins.</summary>
#
# Plain loading copies *values* into tensors that are already there, and those are float16.
# </details>
# <details><summary>B. float16 and float16: the model wins.</summary>
#
# `assign` puts the file's tensors in the place of the model's, with all they bring along.
# </details>
# <details><summary>C. float16, then float32.</summary>
#
# Right. Copying casts. Assigning replaces.
# </details>
# <details><summary>D. An error: dtypes differ.</summary>
#
# Shapes are compared, dtypes are not.
# </details>

# %%
weights = torch.load(path, map_location="cpu")["model"]
half = build().half()
half.load_state_dict(weights)
print("copied:  ", half[0].weight.dtype)
half.load_state_dict(weights, assign=True)
print("assigned:", half[0].weight.dtype)

# %% [markdown]
# Now the same plain load once more, with the *same* dictionary, into a new model:

# %%
again = build().half()
again.load_state_dict(weights)
print("copied?  ", again[0].weight.dtype)
print("its hidden metadata:", weights._metadata[""])
assert again[0].weight.dtype == torch.float32

# %% [markdown]
# It was not copied. `assign=True` leaves a mark in the state_dict's hidden metadata, and every later load from
# that dictionary assigns as well ([pytorch#188166](https://github.com/pytorch/pytorch/issues/188166), seen in
# 2.14). Two models loaded from it then share their weights. So load from a fresh dictionary each time, or pass
# `dict(weights)`, which drops the metadata.

# %% [markdown]
# The optimizer's moments are cast to the dtype of their parameter as well; only `step` is left alone.
# A float16 copy of Adam's second moments is dangerous: they are squares of small numbers, and
# float16 has nothing below 0.00000006.

# %%
half = build().half()
half_optimizer = torch.optim.Adam(half.parameters())
half_optimizer.load_state_dict(checkpoint["optimizer"])
state = half_optimizer.state[half[4].weight]
exact = checkpoint["optimizer"]["state"][4]["exp_avg_sq"]
print({name: str(value.dtype)[6:] for name, value in state.items()})
lost = (state["exp_avg_sq"] == 0) & (exact > 0)
fine = exact.bfloat16()
print("second moments that became zero in float16: ", int(lost.sum()), "of", lost.numel())
print("second moments that became zero in bfloat16:", int(((fine == 0) & (exact > 0)).sum()))
assert lost.sum() > 0

# %% [markdown]
# Zero in the denominator of Adam's step means a step many times too long. Keep moments in float32, or use bfloat16, which
# has float32's range.
#
# **Try it:** pass `dict(weights)` in the cell above. Which dtype comes out?
#
# ## 6. Large models: how much memory does loading take?
#
# The usual two lines hold the model **twice**: once as built (with random weights nobody wants), once as
# read from the file. With a model of half the machine's memory this fails.
#
# Three tools help. `mmap=True` maps the file, so that pages are read when they are touched. The **meta device** builds
# a model of shapes only. `assign=True` lets the model take over the file's tensors instead of copying
# them. Here they are on a model of 512 MiB.

# %%
lesson.show_source(*big_model.WAYS.values())

# %% [markdown]
# Each way runs in a fresh process, which reports the highest resident memory it reached above what Python and PyTorch
# take: after loading, and after a forward pass, which needs every weight.
#
# **Predict.** In units of the model's size: what is the peak of plain loading, of `mmap=True`
# with a copy, and of meta, `mmap` and `assign` together?
#
# <details><summary>A. 1, almost 0, almost 0.</summary>
#
# Plain loading holds the model as it was built *and* as it was read. And to copy a mapped page is
# to read it.
# </details>
# <details><summary>B. 2, 1, 1.</summary>
#
# Mapping alone saves nothing here: each page is touched to be copied, and counts.
# </details>
# <details><summary>C. 2, 2, almost 0.</summary>
#
# Right. With `assign` nothing is read before the first forward pass; then it is one model's size.
# </details>
# <details><summary>D. 2, 2, 1.</summary>
#
# That is meta and `assign` *without* `mmap`.
# </details>

# %% tags=["nbval-ignore-output"]
big_model.save(scratch / "big.pt")
peaks = {
    way: measure.peak_memory(
        "course_utils.lessons.big_model:load_and_use", way, str(scratch / "big.pt")
    )
    for way in lesson.progress(list(big_model.WAYS), "loading 512 MiB in six ways")
}
lesson.show_table(
    [(way, *(f"{peak / 2**20:,.0f}" for peak in phases.values())) for way, phases in peaks.items()],
    ["way", "peak while loading (MiB)", "peak with a forward pass (MiB)"],
)

# %% jupyter={"source_hidden": true}
size = big_model.NBYTES
fig, axis = plots.figure(7.5, 3.6)
used, loaded = ([phases[phase] / size for phases in peaks.values()] for phase in ("use", "load"))
axis.barh(list(peaks), used, height=0.8, color=plots.GREY, label="with a forward pass")
axis.barh(list(peaks), loaded, height=0.45, color=plots.BLUE, label="loading")
axis.axvline(1, color=plots.RED, lw=1.5, ls="--", label="size of the model")
axis.set(xlabel="peak of resident memory (1 = size of the model, 512 MiB)", xlim=(0, 2.2))
axis.legend(loc="lower right")
axis.invert_yaxis()
plots.show(
    fig,
    alt="Horizontal bars for six ways to load. Plain and mapped reach twice the model's size. The "
    "restored, the meta and assign and the checked way reach once its size. Meta, mapped and assigned is almost zero "
    "while loading and once the size after a forward pass.",
    caption="One model's size: what is assigned, or read into memory that is there, never copied.",
)
load = {way: round(phases["load"] / size, 1) for way, phases in peaks.items()}
print("peak while loading, in model sizes:")
for way, sizes in load.items():
    print(f"  {way:19}{sizes}")
assert load["plain"] == load["mapped"] == 2 and load["meta_assign"] == load["checked"] == 1
assert load["restored"] == 1
assert load["meta_mapped_assign"] < 0.1 and peaks["meta_mapped_assign"]["use"] > 0.9 * size

# %% [markdown]
# Mapped pages are the file's own pages: several processes on one machine share them, and the system may drop and
# reread them when memory is short. The price: nothing verifies them. If somebody overwrites the file in place
# while it is mapped, **the weights change silently**; if the file is cut, the process dies (lesson 07 shows both).
#
# **Try it:** add a way of your own to `big_model.WAYS`: `mmap=True` and `assign=True`, without the meta device.
#
# ### A model that is there already
#
# In a training job the model exists, and an optimizer holds its parameters: `assign=True` would cut it off (section
# 7). So the file has to go into *this* memory. The usual line reads it into fresh memory first, which the system has to
# find page by page, then copies. `restore_checkpoint` compares all checksums, and then reads each tensor straight into the
# parameter that waits for it. Nothing is allocated, and if anything is wrong, nothing has been changed.

# %% tags=["nbval-ignore-output"]
model = big_model.build()
waiting = [parameter.data_ptr() for parameter in model.parameters()]
ways = {
    "torch.load + load_state_dict": lambda: model.load_state_dict(torch.load(scratch / "big.pt")),
    "restore_checkpoint, verified": lambda: restore_checkpoint(scratch / "big.pt", model),
}
seconds = {way: [] for way in ways}
for _ in range(3):
    for way, load in ways.items():
        start = time.perf_counter()
        load()
        seconds[way].append(time.perf_counter() - start)
best = {way: min(times) for way, times in seconds.items()}
memory = dict(zip(ways, (peaks["plain"]["load"], peaks["restored"]["load"]), strict=True))
lesson.show_table(
    [(way, f"{best[way]:.2f}", f"{memory[way] / 2**20:,.0f}") for way in ways],
    ["way", "seconds, best of 3", "peak memory, with the model (MiB)"],
)
assert [parameter.data_ptr() for parameter in model.parameters()] == waiting

# %% jupyter={"source_hidden": true}
fig, axes = plots.figure(7.5, 1.9, ncols=2, sharey=True)
left, right = axes
left.barh(list(ways), list(best.values()), color=[plots.GREY, plots.BLUE])
left.set(xlabel="seconds, best of 3")
right.barh(list(ways), [peak / size for peak in memory.values()], color=[plots.GREY, plots.BLUE])
right.set(xlabel="peak memory (model sizes)")
left.invert_yaxis()
plots.show(
    fig,
    alt="Two pairs of bars. The usual way takes twice the model's memory and more time; restoring "
    "into the model takes once its memory.",
    caption="Read into memory that is there: no second copy, and less time, though all is verified.",
)

# %% [markdown]
# The file is read twice, once to verify and once to load; the second time it lies in the system's cache. (Values are
# of the machine that ran this page; yours differ.)
#
# **Try it:** flip a byte of `big.pt` and restore again. Compare the model with what it was.
#
# ## 7. What meta and assign break
#
# The three lines `torch.device("meta")`, `torch.load`, `assign=True` are quoted everywhere. They are
# right for the model above. This one has what real models have: a buffer that is not saved.


# %%
class Scaled(nn.Module):
    """A linear layer whose inputs are scaled by a fixed table, as rotary embeddings are."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 2)
        self.register_buffer("table", torch.tensor([1.0, 2.0, 4.0, 8.0]), persistent=False)

    def forward(self, inputs):
        return self.linear(inputs * self.table)


source = Scaled()
torch.save(source.state_dict(), scratch / "scaled.pt")

with torch.device("meta"):
    model = Scaled()
print(model.load_state_dict(torch.load(scratch / "scaled.pt"), assign=True))
print("linear.weight:", model.linear.weight.device, "  table:", model.table.device)
assert model.table.is_meta

# %% [markdown]
# "All keys matched successfully", and the table has no values: the constructor made it on the meta device, and
# the file never had it. What happens when the model is used?

# %%
with lesson.expect_error(RuntimeError, NotImplementedError):
    print(model(torch.rand(3, 4)))

# %% [markdown]
# The fix is to let only *parameters* be without memory, and to build buffers as usual: they are small.

# %%
with devices.empty_parameters():
    model = Scaled()
print("before: linear.weight", model.linear.weight.device, "  table", model.table.device)
devices.load_into_meta(model, scratch / "scaled.pt")
inputs = torch.rand(3, 4)
differing = (model(inputs) != source(inputs)).sum()
print(f"after: outputs that differ from the model that was saved: {int(differing)} of 6")
assert torch.equal(model(inputs), source(inputs))
lesson.show_source(devices.empty_parameters)

# %% [markdown]
# **Tied weights become two parameters.** In the state_dict they stand under two names, and each name is
# assigned. Here the file holds their storage once, so both still look at one memory; but an optimizer gets
# *two* parameters, each with a part of the gradient, and steps twice. (From a file that holds them apart, they
# are apart altogether.)

# %%
torch.manual_seed(0)
torch.save(TiedAutoencoder().state_dict(), scratch / "tied.pt")

with torch.device("meta"):
    untied = TiedAutoencoder()
untied.load_state_dict(torch.load(scratch / "tied.pt"), assign=True)

with devices.empty_parameters():
    tied = TiedAutoencoder()
devices.load_into_meta(tied, scratch / "tied.pt")

for name, model in (("assigned", untied), ("load_into_meta", tied)):
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    count = len(list(model.parameters()))
    before = model.encoder.weight.detach().clone()
    (model(images[:100]) - images[:100]).square().mean().backward()
    optimizer.step()
    step = (model.encoder.weight - before).abs().max()
    print(
        f"{name:15} {count} parameters, largest change of the shared weight in one step: {step:.2f}"
    )
assert len(list(untied.parameters())) == 4 and len(list(tied.parameters())) == 3
assert tied.decoder_weight is tied.encoder.weight

# %% [markdown]
# **The optimizer is cut off.** Assigning replaces the parameters. An optimizer that was built before
# goes on training the old ones, which nobody uses.

# %%
torch.save(MLP().state_dict(), scratch / "mlp.pt")


def losses(early):
    """Train 40 steps with an optimizer built before or after an assigning load."""
    lesson.seed_everything(0)
    model = MLP()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    model.load_state_dict(torch.load(scratch / "mlp.pt"), assign=True)
    if not early:
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    curve = []
    for _ in range(40):
        model.zero_grad()
        loss = cross_entropy(model(images[:200]), labels[:200])
        loss.backward()
        optimizer.step()
        curve.append(loss.item())
    return curve


curves = {"before": losses(early=True), "after": losses(early=False)}
for when, curve in curves.items():
    print(f"optimizer built {when:6} the load: loss {curve[0]:.1f} → {curve[-1]:.1f} in 40 steps;",
          "different values:", len(set(curve)))  # fmt: skip
assert len(set(curves["before"])) == 1 and curves["after"][-1] < curves["after"][0] / 3

# %% jupyter={"source_hidden": true}
fig, axis = plots.figure(7.5, 2.8)
axis.plot(curves["before"], color=plots.RED, label="optimizer built before the load")
axis.plot(curves["after"], color=plots.BLUE, label="optimizer built after it")
axis.set(xlabel="optimizer step", ylabel="training loss (nats)", ylim=(0, 2.6))
axis.legend(loc="lower left")
plots.show(
    fig,
    alt="Training loss over 40 steps. One line, optimizer built before the load, is perfectly flat "
    "at 2.3. The other, built after it, falls to about 0.1.",
    caption="No error, no warning: the optimizer of the flat line trains parameters that are no longer "
    "in the model.",
)

# %% [markdown]
# `load_into_meta` gives one copy in memory, real buffers, the model's dtype, tied weights, verified
# checksums, and an error that names what does not fit. Only the optimizer is yours: build it
# afterwards.

# %%
lesson.show_source(meta_device.load_into_meta)

# %% [markdown]
# **Try it:** register `table` with `persistent=True`, save, and load with meta and assign. Does it work now?

# %% [markdown]
# ## In short
#
# | you want | do |
# |---|---|
# | to know what a file asks for | `storage_locations(path)` |
# | a GPU file on a CPU | `torch.load(path, map_location=torch.device("cpu"))` |
# | many processes, many GPUs | load to the CPU, or `resolve_map_location("local rank", path)` |
# | to continue training elsewhere | model to its device, optimizer, then load both |
# | to move a model that has an optimizer | `model.to(device)`, then `move_optimizer(optimizer)` |
# | one copy in memory | `empty_parameters()` and `load_into_meta(model, path)` |
# | to load into a model that trains | `restore_checkpoint(path, model)` |
# | `assign=True` yourself | tie again, check buffers and dtypes, then build the optimizer |
#
# ## Your turn
#
# [Exercises for this lesson](exercises/04_map_location.ipynb): open a GPU's file on a laptop, retarget
# each tag and miss none, make an optimizer follow its model, and do the meta device right.
#
# ## Further reading
#
# - [torch.load](https://docs.pytorch.org/docs/stable/generated/torch.load.html): `map_location`, and
#   `mmap`, which exists since 2.1.
# - [Tips for loading an nn.Module from a checkpoint](https://docs.pytorch.org/tutorials/recipes/recipes/module_load_state_dict_tips.html):
#   `assign=True`, since 2.1. It says itself that the optimizer must come after.
# - [The meta device](https://docs.pytorch.org/docs/stable/meta.html).
# - Since 2.6 `torch.load` defaults to `weights_only=True`; this does not change where tensors go.
# - `FakeTensorMode` is not yet a stable interface: its module is private in 2.14.

# %%
lesson.finish(scratch)
