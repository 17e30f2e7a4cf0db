# %% [markdown]
# # 01 · state_dict anatomy
#
# Saving a model means turning objects in memory into bytes on a disk. This lesson goes from what
# you know, `model.state_dict()`, down to the bytes.
#
# After it you will be able to
#
# - say what a `state_dict` holds, what it leaves out, and what it shares with the living model,
# - open any `.pt` file without loading it, and tell where each byte belongs,
# - predict the errors of `load_state_dict`, and read them when they come.
#
# **Time:** 45 minutes. **Needs:** [00 Start here](00_start_here.ipynb); you have trained a small
# network before.

# %% [markdown]
# **Do you remember?** Answer first, then open.
#
# <details><summary>What does <i>exact resume</i> mean?</summary>
#
# The continued run gives the same bits as one that was never stopped: weights, moments, batches.
# </details>
# <details><summary>What can a program do when it gets SIGKILL?</summary>
#
# Nothing. No `finally`, no cleanup. What is not on the disk is gone.
# </details>
# <details><summary>A run saves every 22 steps and is killed in step 100. Where does it go
# on?</summary>
#
# After step 88. Steps 89 to 100 are done again.
# </details>

# %%
import itertools
import pickle
import pickletools
import struct
import zipfile
from decimal import Decimal

import torch
from torch import nn

from course_utils.anatomy import byte_map, read_archive, summarize
from course_utils.lessons import diagrams, lesson, plots
from course_utils.lessons.models import MLP, DigitsCNN, TiedAutoencoder

scratch = lesson.start("01_state_dict_anatomy")

# %% [markdown]
# ## 1. What a state_dict holds
#
# A module's `state_dict()` is a flat dictionary from names to tensors. The name is the path to
# the tensor through the attributes of the module.
#
# **Predict.** A model has two linear layers: the first stands inside a `Sequential` at position
# 1, called `features`, the second is called `head`. `Flatten` and `ReLU` stand around them. Which
# names are in its state_dict?
#
# <details><summary>A. <code>features.weight</code>, <code>features.bias</code>,
# <code>head.weight</code>, <code>head.bias</code></summary>
#
# The name is the whole path. `Sequential` calls its parts `0`, `1`, `2`, so the position belongs
# to it.
# </details>
# <details><summary>B. <code>features.1.weight</code>, <code>features.1.bias</code>,
# <code>head.weight</code>, <code>head.bias</code></summary>
#
# Right. `Flatten` and `ReLU` keep no numbers, so they have no names here, although they count as
# positions 0 and 2.
# </details>
# <details><summary>C. <code>features.0</code>, <code>features.1</code>, <code>features.2</code>,
# <code>head</code></summary>
#
# Modules are not entries. Only tensors are: a linear layer gives two, its weight and its bias.
# </details>
# <details><summary>D. <code>Linear.weight</code>, <code>Linear.bias</code>,
# <code>Linear_1.weight</code>, <code>Linear_1.bias</code></summary>
#
# The *class* of a layer is nowhere in a state_dict. Names come from the attributes.
# </details>

# %%
model = MLP(hidden=4)
print(model, "\n")
for name, tensor in model.state_dict().items():
    print(f"{name:18} {list(tensor.shape)!s:9} {tensor.dtype}")

# %% [markdown]
# Three kinds of things can be in it, and three kinds are not.


# %%
class Everything(nn.Module):
    """One of each kind of thing a module can keep."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))
        self.register_buffer("mean", torch.zeros(2))
        self.register_buffer("cache", torch.zeros(2), persistent=False)
        self.plain_tensor = torch.zeros(2)
        self.hidden_layers = [nn.Linear(2, 2)]
        self.calls = 0

    def get_extra_state(self):
        return {"calls": self.calls}

    def set_extra_state(self, state):
        self.calls = state["calls"]


everything = Everything()
kept = everything.state_dict()
lesson.show_table(
    [
        ("weight", "parameter", "weight" in kept),
        ("mean", "buffer", "mean" in kept),
        ("calls", "extra state", "_extra_state" in kept),
        ("cache", "buffer, persistent=False", "cache" in kept),
        ("plain_tensor", "tensor that is a plain attribute", "plain_tensor" in kept),
        ("hidden_layers", "layers in a plain list", any("hidden" in name for name in kept)),
    ],
    ["attribute", "what it is", "in the state_dict"],
)
assert list(kept) == ["weight", "mean", "_extra_state"]

# %% [markdown]
# The last two lines of the table are bugs that bite silently: the tensor is not saved, not moved
# by `.to(device)`, and the layers in the plain list are **not trained** either, since
# `parameters()` does not see them. Use `register_buffer` and `nn.ModuleList`.

# %%
print(
    "parameters that an optimizer would get:", [name for name, _ in everything.named_parameters()]
)

# %% [markdown]
# The code of the model is not in it. Nor is the shape of the network, the learning rate, or
# whether the model was in training mode. A `state_dict` is the furniture without the house.
#
# `summarize` shows one at a glance, with the bytes, and which names share their memory. Here it is
# for an autoencoder whose decoder is the encoder's own weight:
#
# ```python
# self.encoder = nn.Linear(64, code)
# self.decoder_weight = self.encoder.weight
# self.decoder_bias = nn.Parameter(torch.zeros(64))
# ```

# %%
summarize(TiedAutoencoder(code=4).state_dict())

# %% [markdown]
# `encoder.weight` and `decoder_weight` are one tensor under two names: *tied weights*. Their 1,024
# bytes exist once.
#
# **Try it:** make `hidden_layers` an `nn.ModuleList` and run the table again. Which rows change?

# %% [markdown]
# ## 2. It is the living model, not a copy
#
# `state_dict()` copies nothing. Its tensors are the model's own memory. That makes it fast, and
# it sets a famous trap: keeping "the best model so far".
#
# **Predict.** We keep `best = model.state_dict()` at the best accuracy, then train on. What is in
# `best` at the end?
#
# <details><summary>A. The weights at the best accuracy.</summary>
#
# That would need a copy, and `state_dict()` makes none: it hands out the model's own tensors.
# </details>
# <details><summary>B. The last weights.</summary>
#
# Right. Every training step writes into the very tensors that `best` holds.
# </details>
# <details><summary>C. It depends: with <code>dict(model.state_dict())</code> it would be the best
# ones.</summary>
#
# A shallow `dict` has its own list of names, but the same tensors. The table below shows it.
# </details>
# <details><summary>D. The best ones, since the optimizer makes new tensors at each
# step.</summary>
#
# Optimizers write in place (`add_`, `mul_`). That saves memory, and that is the trap.
# </details>

# %%
model = MLP(hidden=4)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
best = model.state_dict()
shallow = dict(model.state_dict())
copied = {name: tensor.clone() for name, tensor in model.state_dict().items()}

model(torch.rand(8, 1, 8, 8)).square().mean().backward()
optimizer.step()

now = model.state_dict()["head.weight"]
ways = {"model.state_dict()": best, "dict(model.state_dict())": shallow, "a clone of each": copied}
lesson.show_table(
    [
        (way, int((kept["head.weight"] != copied["head.weight"]).sum()), now.numel())
        for way, kept in ways.items()
    ],
    ["what we kept before the step", "numbers of the head that moved since", "of"],
)
assert torch.equal(best["head.weight"], now) and torch.equal(shallow["head.weight"], now)
assert not torch.equal(copied["head.weight"], now)

# %% [markdown]
# `copy.deepcopy(model.state_dict())` is right too, and so is writing a file: bytes on a disk do
# not follow the model.
#
# **Try it:** load `best` into a new model *before* the step. Does the new model move along?

# %% [markdown]
# ## 3. The optimizer has one too, without names
#
# An optimizer remembers things: momentum, moments, step counts. Its `state_dict` has two parts:
# `state`, by **number**, and `param_groups`, which says which numbers belong to which group and
# with what settings.

# %%
model = MLP(hidden=4)
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
model(torch.rand(8, 1, 8, 8)).square().mean().backward()
optimizer.step()

saved = optimizer.state_dict()
for number, entry in saved["state"].items():
    shapes = ", ".join(f"{name} {list(tensor.shape)}" for name, tensor in entry.items())
    print(f"{number}: {shapes}")
group = saved["param_groups"][0]
print("group 0:", {name: group[name] for name in ("lr", "betas", "params")})

# %% [markdown]
# Adam keeps two more tensors for each parameter, so a checkpoint with an optimizer is three times
# as large as the model. And this state_dict is alive as well: it holds the optimizer's own tensors.

# %%
in_dict = saved["state"][0]["exp_avg"]
before = in_dict.clone()
optimizer.step()
print("numbers of the saved exp_avg that one more step moved:", int((in_dict != before).sum()))
assert in_dict is optimizer.state[model.features[1].weight]["exp_avg"]

sizes = {"parameters": sum(p.nbytes for p in model.parameters())}
for name in ("exp_avg", "exp_avg_sq"):
    sizes[f"optimizer: {name}"] = sum(entry[name].nbytes for entry in saved["state"].values())
for name, size in sizes.items():
    print(f"{name:22} {size:,} bytes")

# %% [markdown]
# The numbers are positions in the list of parameters the optimizer was given. Nothing checks that
# number 2 is still the same parameter.
#
# **Predict.** An optimizer over `[a, b]`, two parameters of equal shape, is saved. It is loaded
# into an optimizer over `[b, a]`. What happens?
#
# <details><summary>A. An error: the names do not agree.</summary>
#
# There are no names in it, only the numbers 0 and 1. And where there are names, loading does not
# compare them, as you will see.
# </details>
# <details><summary>B. Each parameter gets its own moments: they are matched by name.</summary>
#
# A *model's* state is matched by name. An optimizer's is matched by position.
# </details>
# <details><summary>C. No error: <code>a</code> gets the moments of <code>b</code>, and
# <code>b</code> those of <code>a</code>.</summary>
#
# Right. Training continues, worse, and says nothing.
# </details>
# <details><summary>D. An error, since <code>a</code> and <code>b</code> are other objects than
# before.</summary>
#
# They always are after a restart. Only the number of groups and of parameters is compared.
# </details>

# %%
a, b = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2))
optimizer = torch.optim.SGD([a, b], lr=0.1, momentum=0.9)
(a.sum() + 10 * b.sum()).backward()
optimizer.step()

swapped = torch.optim.SGD([b, a], lr=0.1, momentum=0.9)
swapped.load_state_dict(optimizer.state_dict())
momentum = "momentum_buffer"
print("momentum of a when saved:  ", optimizer.state[a][momentum].tolist())
print("momentum of a after loading:", swapped.state[a][momentum].tolist())
assert torch.equal(swapped.state[a][momentum], optimizer.state[b][momentum])

# %% [markdown]
# Giving the optimizer `model.named_parameters()` stores names in the file, but loading still goes
# by position.

# %%
a, b = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2))
named = torch.optim.SGD([("a", a), ("b", b)], lr=0.1, momentum=0.9)
(a.sum() + 10 * b.sum()).backward()
named.step()
reordered = torch.optim.SGD([("b", b), ("a", a)], lr=0.1, momentum=0.9)
reordered.load_state_dict(named.state_dict())
print("names in the file:          ", named.state_dict()["param_groups"][0]["param_names"])
print("momentum of a when saved:   ", named.state[a][momentum].tolist())
print("momentum of a after loading:", reordered.state[a][momentum].tolist())
assert torch.equal(reordered.state[a][momentum], named.state[b][momentum])

# %% [markdown]
# So: build the model by the same code, hand its parameters over in the same order, and compare
# the `param_names` yourself if you can. `TrainState`, in lesson 02, does.
#
# **Try it:** swap two parameters of *different* shapes. When does the error come: at loading, or
# at the next step?

# %% [markdown]
# ## 4. Loading: strict, and for good reasons
#
# `load_state_dict` copies by name. Every name must be there, none too many, every shape right.
# Its complaint is long but exact. Two prefixes cause most of the complaints in the world:
# `DataParallel` and `DistributedDataParallel` put `module.` in front of every name, `torch.compile`
# puts `_orig_mod.`

# %%
model = MLP(hidden=4)
wrapped = nn.DataParallel(model)
with lesson.expect_error(RuntimeError, match="Missing key"):
    model.load_state_dict(wrapped.state_dict())

# %% [markdown]
# Read it from its end: the *unexpected* keys are those of the file, the *missing* ones those of the
# model, and they differ by a prefix only.

# %%
from torch.nn.modules.utils import consume_prefix_in_state_dict_if_present

compiled = torch.compile(model)
print("compiled:     ", next(iter(compiled.state_dict())))
print("and wrapped:  ", next(iter(nn.DataParallel(compiled).state_dict())))

stripped = wrapped.state_dict()
consume_prefix_in_state_dict_if_present(stripped, "module.")
print("prefix gone:  ", model.load_state_dict(stripped))
print("better: save the inner model:", model.load_state_dict(wrapped.module.state_dict()))

# %% [markdown]
# `model.compile()`, in place, adds no prefix at all. Where prefixes nest, the planner of lesson 03
# finds them.

# %%
model.compile()
print(next(iter(model.state_dict())))

# %% [markdown]
# ### BatchNorm counts, and a hidden attribute notices
#
# BatchNorm keeps running statistics and the number of batches it has seen. A `state_dict` carries
# a hidden attribute, `_metadata`, with a version for each module, and loading behaves by it.
#
# **Predict.** We remove `num_batches_tracked` from a BatchNorm's state and load it. Then the same
# from a plain `dict` of the same tensors. What happens?
#
# <details><summary>A. Both fail: a key is missing.</summary>
#
# The first does. The second surprises nearly everybody.
# </details>
# <details><summary>B. Both pass: the counter is not needed.</summary>
#
# It is needed if `momentum=None`, and the strict load asks for it, as long as it knows how old
# the state is.
# </details>
# <details><summary>C. The first fails, the second passes.</summary>
#
# Right. The hidden metadata says version 2, and version 2 has the counter. A plain `dict` has no
# metadata, so PyTorch takes it for a file from 2018 and leaves the counter as it is.
# </details>
# <details><summary>D. The first passes, the second fails: a plain dict is not a
# state_dict.</summary>
#
# `load_state_dict` takes any mapping. What the plain one lacks makes it *milder*.
# </details>

# %%
norm = nn.BatchNorm1d(2)
state = norm.state_dict()
print("hidden metadata:", dict(state._metadata))
del state["num_batches_tracked"]
with lesson.expect_error(RuntimeError, match="Missing key"):
    norm.load_state_dict(state)
print("from a plain dict:", norm.load_state_dict(dict(state)))

# %% [markdown]
# So keep the object that `state_dict()` returned, or copy it with `copy.copy`, which keeps the
# attribute.
#
# ### dtype and mode
#
# Loading copies **values** into the tensors the model already has. The model's dtype wins, without
# a word, and so does its mode: `train()` and `eval()` are not in the file.

# %%
half = {name: tensor.half() for name, tensor in MLP(hidden=4).state_dict().items()}
model = MLP(hidden=4)
model.load_state_dict(half)
print("dtype in the file: ", half["head.weight"].dtype)
print("dtype in the model:", model.head.weight.dtype)

# %%
images = torch.rand(4, 1, 8, 8)
trained = DigitsCNN(dropout=0.5).eval()  # three convolutions with BatchNorm, dropout, a head
fresh = DigitsCNN(dropout=0.5)
fresh.load_state_dict(trained.state_dict())
with torch.no_grad():
    forgot = (fresh(images) != trained(images)).sum()
    fresh.load_state_dict(trained.state_dict())  # the forward pass above moved BatchNorm's averages
    right = (fresh.eval()(images) != trained(images)).sum()
print("outputs of 40 that differ without eval():", int(forgot))
print("outputs of 40 that differ with eval():   ", int(right))
assert forgot == 40 and right == 0

# %% [markdown]
# **Try it:** load `half` with `load_state_dict(half, assign=True)`. Which dtype has the model now?
# Lesson 04 says what else changes.

# %% [markdown]
# ## 5. Names, tensors, storages
#
# Between a name and its numbers stand two things. A **tensor** is a window: a shape, strides and an
# offset. The numbers lie in a **storage**. Two names can mean one tensor, and two tensors can
# look at one storage.

# %% jupyter={"source_hidden": true}
diagrams.names_tensors_storages()

# %% [markdown]
# ### Storages against views: the 4 MB slice
# `torch.save` writes the **whole storage**, because another
# tensor may look through another window.
#
# **Predict.** We save `{"first": million[:4]}`, four numbers out of a tensor of a million. How
# large is the file?
#
# <details><summary>A. A little over 16 bytes.</summary>
#
# 4 × 4 bytes would be enough for the numbers. But a zip's records alone take more than a
# thousand.
# </details>
# <details><summary>B. About 1.5 kB.</summary>
#
# That is what a *clone* of the four numbers takes. A slice is not a copy.
# </details>
# <details><summary>C. About 4 MB.</summary>
#
# Right. The slice is a window on a storage of a million floats of 4 bytes, and `torch.save`
# writes storages.
# </details>
# <details><summary>D. About 4 MB in memory, but the zip is compressed, so little on
# disk.</summary>
#
# `torch.save` does not compress, so that the file can be mapped. These are zeros; they still take
# 4 MB.
# </details>

# %%
million = torch.zeros(1_000_000)
torch.save({"first": million[:4]}, scratch / "slice.pt")
torch.save({"first": million[:4].clone()}, scratch / "clone.pt")
for name in ("slice.pt", "clone.pt"):
    info = read_archive(scratch / name)
    tensor, size = info.tensors["first"], (scratch / name).stat().st_size
    held = info.records[tensor.record].size
    print(f"{name}: {size:>9,} bytes; the tensor needs {tensor.nbytes}, its record holds {held:,}")
assert (scratch / "slice.pt").stat().st_size > 1000 * (scratch / "clone.pt").stat().st_size

# %% [markdown]
# That is the usual reason for a checkpoint that is far too large: `.clone()` what you save.
# The same rule has a good side. Tied weights are stored once, and are still tied when loaded:

# %%
torch.save(TiedAutoencoder(code=4).state_dict(), scratch / "tied.pt")
tied = read_archive(scratch / "tied.pt").tensors
print("records:", tied["encoder.weight"].record, "and", tied["decoder_weight"].record)
loaded = torch.load(scratch / "tied.pt")
loaded["encoder.weight"][0, 0] = 42
print(
    "42 written to encoder.weight; read from decoder_weight:", loaded["decoder_weight"][0, 0].item()
)
assert (
    loaded["decoder_weight"][0, 0] == 42
    and tied["encoder.weight"].record == tied["decoder_weight"].record
)

# %% [markdown]
# **Try it:** save the *last* four numbers of the million. Is that file smaller?

# %% [markdown]
# ## 6. Everything becomes bytes
#
# A float in memory is four bytes. Writing those bytes is easy. But the bytes do not say that
# they are a float: whoever reads them must know.

# %%
number = torch.tensor([0.5, -2.0])
raw = number.numpy().tobytes()
print("bytes:      ", raw.hex(" "))
print("as floats:  ", struct.unpack("<2f", raw))
print("as integers:", struct.unpack("<2i", raw))

# %% [markdown]
# So a file needs a description next to the data. For lists, dictionaries and objects, Python's
# own answer is **pickle**: a small program that builds the object again. Reading a pickle means
# running that program. `pickletools` prints it.

# %%
pickletools.dis(pickle.dumps({"step": 3, "best": [0.5]}, protocol=2))

# %% [markdown]
# Read it as work on a stack: *push* an empty dictionary, push `"step"`, push 3, … and at the end
# put the pairs into the dictionary. `BINPUT` remembers a value under a number, so that it can be
# used again.
#
# One instruction is different. `GLOBAL` fetches **any function or class that Python can import**,
# and `REDUCE` calls it.

# %% jupyter={"source_hidden": true}
diagrams.pickle_stack()

# %%
pickletools.dis(pickle.dumps(Decimal("0.1"), protocol=2))

# %% [markdown]
# Here the pickle imports `decimal.Decimal` and calls it with `'0.1'`. It could as well import
# `os.system` and call that. Hence the rule for the whole course: **a pickle is a program; do not run the
# programs of strangers.** PyTorch's `weights_only=True` runs only a short list of harmless calls.
# Lesson 06 attacks it and defends it.
#
# **Try it:** disassemble `{"now": datetime.date(2026, 1, 1)}`. What would it import?

# %% [markdown]
# ## 7. The file, opened by hand
#
# `torch.save` writes a **zip archive**. We save a small model and look with nothing but Python's
# own `zipfile`.

# %%
torch.manual_seed(0)
model = MLP(hidden=4)
path = scratch / "model.pt"
torch.save(model.state_dict(), path)

with zipfile.ZipFile(path) as archive:
    for entry in archive.infolist():
        print(f"{entry.filename:32} {entry.file_size:5} bytes, in the file {entry.compress_size:5}")

# %% [markdown]
# `data/0`, `data/1`, … are the numbers themselves, one record for each *storage*. `data.pkl` is
# the pickle that says how to put them together. The rest is housekeeping.

# %% jupyter={"source_hidden": true}
diagrams.archive_with_directory()

# %% [markdown]
# The data is not compressed, and every data record starts at a multiple of 64. So a program can
# map the file into memory and use the numbers where they lie. `read_archive` tells the places,
# and it never runs the pickle.

# %%
archive = read_archive(path)
archive

# %%
bias = archive.tensors["features.1.bias"]
record = archive.records[bias.record]
with open(path, "rb") as file:
    file.seek(record.offset)
    by_hand = struct.unpack("<4f", file.read(record.size))
print(
    f"{bias.name}: {record.size} bytes from byte {record.offset}, which is 64 x {record.offset // 64}"
)
print("read by hand:", [f"{number:.4f}" for number in by_hand])
print("in the model:", [f"{number:.4f}" for number in model.features[1].bias.tolist()])
assert record.offset % 64 == 0 and list(by_hand) == model.features[1].bias.tolist()

# %% [markdown]
# Here is the whole file, drawn to scale.

# %% jupyter={"source_hidden": true}
spans = byte_map(archive)
KINDS = {"tensor": plots.BLUE, "pickle": plots.ORANGE, "header": plots.GREY, "padding": "#D8D8D2"}

fig, axis = plots.figure(7.5, 2.2)
for span in spans:
    color = KINDS.get(span.kind, plots.GREEN)
    axis.broken_barh([(span.start, span.stop - span.start)], (0, 1), color=color, lw=0)
for name, color in {**KINDS, "other": plots.GREEN}.items():
    axis.barh(0, 0, color=color, label=name)
axis.set(xlabel="position in the file (bytes)", yticks=[], xlim=(0, spans[-1].stop), ylim=(0, 1))
axis.grid(visible=False)
axis.legend(ncols=5, loc="lower center", bbox_to_anchor=(0.5, 1.0))
plots.show(
    fig,
    alt="A bar as long as the file. Tensor data, the pickle, zip headers, padding and other small "
    "records follow each other; in this small file headers and padding take most of the room.",
    caption="Every byte of the file, to scale. In a file this small the wrapping outweighs the data.",
)
sizes = {kind: sum(s.stop - s.start for s in spans if s.kind == kind) for kind in KINDS}
lesson.show_table(
    [
        *((kind, f"{size:,}") for kind, size in sizes.items()),
        ("other records", f"{spans[-1].stop - sum(sizes.values()):,}"),
        ("the whole file", f"{path.stat().st_size:,}"),
    ],
    ["part", "bytes"],
)
assert spans[0].start == 0 and spans[-1].stop == path.stat().st_size
assert all(left.stop == right.start for left, right in itertools.pairwise(spans))

# %% [markdown]
# Now the pickle inside. It is longer than ours above, so we print the instructions that matter:
# the imports, and the first tensor.

# %%
print("it would import:", *sorted(archive.globals), sep="\n  ")

# %%
start = next(
    i for i, op in enumerate(archive.opcodes()) if "_rebuild_tensor_v2" in str(op.argument)
)
for op in archive.opcodes()[start : start + 24]:
    print(f"{op.position:4} {op.name:12} {'' if op.argument is None else op.argument}")

# %% [markdown]
# `_rebuild_tensor_v2` gets a storage, an offset into it, a shape and strides. The storage is a
# *persistent id* (`BINPERSID`): a note "float storage, record `data/0`, saved on `cpu`, 256
# elements". The tag `cpu` is what `map_location` rewrites in lesson 04.
#
# **Try it:** save the model with `torch.save(…, pickle_protocol=4)`, and list its opcodes.

# %% [markdown]
# ### A checkpoint is a dictionary of dictionaries
#
# The names of nested checkpoints come out as paths. Reading them costs the directory and the
# pickle, however large the data: a file of gigabytes is listed as fast as this one.

# %%
model = MLP(hidden=4)
optimizer = torch.optim.Adam(model.parameters())
model(torch.rand(8, 1, 8, 8)).square().mean().backward()
optimizer.step()
torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 7}, path)
nested = read_archive(path)
print(*list(nested.tensors)[:7], "…", sep="\n")

# %% [markdown]
# ## 8. Why not pickle the whole model?
#
# `torch.save(model, path)` looks easier: no class needed to load it? It is needed. A pickle stores
# the class as an **import path**. We put a model class in a file of its own, save a model whole,
# and then do what every project does one day: rename the file.

# %%
import importlib
import sys

(scratch / "old_name.py").write_text("from torch import nn\n\nclass Net(nn.Linear):\n    pass\n")
sys.path.insert(0, str(scratch))
importlib.invalidate_caches()
Net = importlib.import_module("old_name").Net

torch.manual_seed(0)
net = Net(2, 2)
torch.save(net, scratch / "whole.pt")
torch.save(
    {"config": {"in_features": 2, "out_features": 2}, "model": net.state_dict()},
    scratch / "state.pt",
)

(scratch / "old_name.py").rename(scratch / "new_name.py")
sys.modules.pop("old_name")
sys.modules.pop("new_name", None)
importlib.invalidate_caches()

with lesson.expect_error(ModuleNotFoundError):
    torch.load(scratch / "whole.pt", weights_only=False)

# %% [markdown]
# Note the `weights_only=False`: we had to allow the file to run code before it could even fail.
# By default, since PyTorch 2.6, it is refused:

# %%
with lesson.expect_error(pickle.UnpicklingError, match="Unsupported global"):
    torch.load(scratch / "whole.pt")
print(
    "what it would import:",
    sorted(g for g in read_archive(scratch / "whole.pt").globals if "old_name" in g),
)

# %% [markdown]
# The `state_dict` with its configuration does not care where the class lives now.

# %%
saved = torch.load(scratch / "state.pt")
moved = importlib.import_module("new_name").Net(**saved["config"])
print(moved.load_state_dict(saved["model"]))
print("weights that differ:", int((moved.weight != net.weight).sum()), "of", net.weight.numel())
assert torch.equal(moved.weight, net.weight)

# %% [markdown]
# **Try it:** give the new file a class `Net` with one layer more. Which error does each file give?

# %% [markdown]
# ## The production helper
#
# `summarize`, which you used above, is a dozen lines: group the tensors by the memory they share.

# %%
lesson.show_source(summarize)

# %% [markdown]
# ## In short
#
# | fact | so |
# |---|---|
# | a pickle is a program | load with `weights_only=True`; look before you load (lesson 06) |
# | a `state_dict` shares memory with the model | clone what you keep |
# | it holds parameters, persistent buffers, extra state | register what must be saved |
# | the optimizer matches by position | same model, same order |
# | a `.pt` is a zip: a pickle and raw storages | `read_archive` lists it without running it |
# | a view saves its whole storage | `.clone()` slices before saving |
# | loading copies values into the model's tensors | the model's dtype stays; call `eval()` |
# | a whole pickled model stores import paths | save `state_dict` and configuration |
#
# **Your turn:** [the exercises of this lesson](exercises/01_state_dict_anatomy.ipynb). Then
# [02 Checkpoint and resume](02_checkpoint_and_resume.ipynb).
#
# Further reading: [serialization semantics](https://docs.pytorch.org/docs/stable/notes/serialization.html)
# (the file layout; 64-byte alignment since 2.1, `weights_only=True` by default since 2.6);
# [pickletools](https://docs.python.org/3/library/pickletools.html);
# [saving and loading models](https://docs.pytorch.org/tutorials/beginner/saving_loading_models.html).

# %%
sys.path[:] = [folder for folder in sys.path if folder != str(scratch)]
lesson.finish(scratch)
