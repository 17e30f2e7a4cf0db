# %% [markdown]
# # 06 · Files you should not trust
#
# You download a model. Before your code sees a single weight, the file may have run a program on your
# machine, with your rights. And a file that nobody meant to harm you with may have a bit flipped, and load
# without a word.
#
# After this lesson you will be able to
#
# - show what a pickle can do while it loads, and what `weights_only` stops and what it does not,
# - tell what a file *would* do, without running it,
# - load files from strangers as plain data, or convert them to a format that cannot carry code.
#
# **Time:** 40 minutes. **Needs:** [01 state_dict anatomy](01_state_dict_anatomy.ipynb).
#
# Every "attack" here is harmless: it creates an empty file in this lesson's scratch folder. If that exists
# afterwards, code from the checkpoint has run.

# %%
import json
import logging
import os
import pickle
import struct
import warnings
import zipfile
from unittest import mock

import torch

from course_utils import lesson, plots
from course_utils.errors import DamagedCheckpointError, UnsafeCheckpointError
from course_utils.safety import audit, load_untrusted

scratch = lesson.start("06_untrusted_files")
marker = scratch / "code_has_run"


def code_has_run():
    """Whether a payload has run since we last asked."""
    ran = marker.exists()
    if ran:
        marker.unlink()
    return ran


# %% [markdown]
# ## 1. Loading is running
#
# Lesson 01 showed that a pickle is a program. A class decides with `__reduce__` what the program calls when its
# object is loaded. Any function will do. Ours calls `logging.FileHandler`, whose one visible act is to create a file;
# `os.system` would be called in the same way.


# %%
class Payload:
    """Looks like part of a checkpoint."""

    def __reduce__(self):
        return logging.FileHandler, (str(marker),)


torch.save({"model": {"w": torch.ones(3)}, "optimizer": Payload()}, scratch / "hostile.pt")
print("saving ran it: ", code_has_run())

# %% [markdown]
# <details><summary>Predict: we load the file, with the protection switched off, and use only
# <code>["model"]</code>. Does the payload run?</summary>
#
# Yes. The pickle is run to its end before `torch.load` returns anything. It does not matter what you use.
# </details>

# %%
model = torch.load(scratch / "hostile.pt", weights_only=False)["model"]
ran = code_has_run()
print("the weights look fine:", model["w"].tolist())
print("code has run:", ran)
assert ran

# %% [markdown]
# Since PyTorch 2.6 the protection is on by default. The file is refused, and nothing has run:

# %%
with lesson.expect_error(pickle.UnpicklingError, match=r"Unsupported global: GLOBAL \S+"):
    torch.load(scratch / "hostile.pt")
ran = code_has_run()
print("code has run:", ran)
assert not ran

# %% [markdown]
# ## 2. What `weights_only` allows, and how people open it again
#
# The weights-only unpickler knows a list of functions: tensors, storages, containers, dtypes. All else is refused.
# That refuses honest files, too: numpy scalars, paths, dates, enums, your own classes.

# %%
import numpy as np

torch.save({"loss": np.float64(0.25)}, scratch / "numpy.pt")
with lesson.expect_error(pickle.UnpicklingError, match=r"Unsupported global: GLOBAL \S+"):
    torch.load(scratch / "numpy.pt")

# %% [markdown]
# The right answer for your own files is to save plain types: `float(loss)`. For a file of somebody you trust,
# allow **what it needs, for this one load**. `get_unsafe_globals_in_checkpoint` says what it needs:

# %%
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

needed = get_unsafe_globals_in_checkpoint(scratch / "numpy.pt")
print("needs:", sorted(needed))
allowed = [
    (np._core.multiarray.scalar, "numpy._core.multiarray.scalar"),
    np.dtype,
    np.dtypes.Float64DType,
]
with safe_globals(allowed):
    print(torch.load(scratch / "numpy.pt"))

# %% [markdown]
# Now the ways in which the protection is lost. Each is in real code.
#
# <details><summary>Predict: which of these run the payload? (a) <code>weights_only=False</code>; (b)
# <code>pickle_module=pickle</code> and nothing else; (c) the environment variable
# <code>TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1</code>, set by somebody in a start script; (d)
# <code>safe_globals</code> with the very function that the payload calls.</summary>
#
# All four. (PyTorch never lets `safe_globals` admit the modules `os` and `sys`, but there are many other ways to do
# harm.)
# </details>


# %%
def attempt(load):
    """Try to load the hostile file; say what happened."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            load(scratch / "hostile.pt")
        outcome = "loaded"
    except (pickle.UnpicklingError, UnsafeCheckpointError, RuntimeError):
        outcome = "refused"
    return outcome, code_has_run()


def with_environment(path):
    with mock.patch.dict(os.environ, {"TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"}):
        torch.load(path)


def with_globals(path):
    with safe_globals([logging.FileHandler]):
        torch.load(path)


WAYS = {
    "torch.load(path)": torch.load,
    "weights_only=False": lambda path: torch.load(path, weights_only=False),
    "pickle_module=pickle": lambda path: torch.load(path, pickle_module=pickle),
    "the environment variable": with_environment,
    "safe_globals, too generous": with_globals,
    "load_untrusted(path)": load_untrusted,
}
outcomes = {name: attempt(load) for name, load in WAYS.items()}
lesson.show_table(
    [(name, *outcome) for name, outcome in outcomes.items()], ["way", "outcome", "code has run"]
)

# %%
for name in (
    "weights_only=False",
    "pickle_module=pickle",
    "the environment variable",
    "safe_globals, too generous",
):
    assert outcomes[name] == ("loaded", True), name
for name in ("torch.load(path)", "load_untrusted(path)"):
    assert outcomes[name] == ("refused", False), name
print("safe: torch.load as it is, and load_untrusted. The other four ran the payload.")

# %% [markdown]
# Also: `torch.hub.load_state_dict_from_url` still has `weights_only=False` as its default, and `torch.export.load` has
# no such protection at all. And the protection itself had holes: CVE-2025-32434 (fixed in 2.6) and CVE-2026-24747
# (fixed in 2.10). Say *safer*, not *safe*; keep PyTorch up to date; and look before you load.

# %% [markdown]
# ## 3. Look without running
#
# A pickle can be *read* like any other program. `audit` follows its instructions, but imports and calls nothing.

# %%
audit(scratch / "hostile.pt")

# %%
found = audit(scratch / "hostile.pt")
ran = code_has_run()
print("it would call:", *(call.replace(str(marker), "marker") for call in found.calls))
print("code has run:", ran)
assert not ran and found.verdict.value == "would run code"

# %% [markdown]
# It reads every kind of file that PyTorch people pass around, and tells honest from hostile. We make a few of each.


# %%
class Twice:
    """Hides the payload in a pickle inside the pickle."""

    def __reduce__(self):
        return pickle.loads, (pickle.dumps(Payload()),)


def make_files(folder):
    folder.mkdir(exist_ok=True)
    honest = {"w": torch.arange(4.0)}
    torch.save(honest, folder / "honest.pt")
    torch.save(honest, folder / "honest_before_1.6.pt", _use_new_zipfile_serialization=False)
    torch.save({"loss": np.float64(1)}, folder / "with_numpy.pt")
    torch.save({"x": Payload()}, folder / "payload.pt")
    torch.save(
        {"x": Payload()}, folder / "payload_before_1.6.pt", _use_new_zipfile_serialization=False
    )
    torch.save({"x": Twice()}, folder / "nested.pt")
    (folder / "payload.pkl").write_bytes(pickle.dumps(Payload()))
    whole = (folder / "honest.pt").read_bytes()
    (folder / "cut_off.pt").write_bytes(whole[: len(whole) // 2])
    # A pickle first, a zip archive at the end: each reader sees the file it expects.
    (folder / "two_in_one.pt").write_bytes(pickle.dumps(Payload()) + whole)
    (folder / "letter.txt").write_text("Dear reader")
    return sorted(folder.iterdir())


files = make_files(scratch / "files")
audits = {path.name: audit(path) for path in files}
lesson.show_table(
    [(name, a.verdict.value, a.format) for name, a in audits.items()], ["file", "verdict", "format"]
)

# %%
verdicts = {name: found.verdict.value for name, found in audits.items()}
assert verdicts["honest.pt"] == verdicts["honest_before_1.6.pt"] == "plain data"
assert verdicts["with_numpy.pt"] == "needs these globals"
for name in ("payload.pt", "payload_before_1.6.pt", "nested.pt", "payload.pkl", "two_in_one.pt"):
    assert verdicts[name] == "would run code", name
assert not code_has_run()
print("ten files read, no code run")

# %% [markdown]
# What does each loader do with each of these files? Every square of the next figure was tried, right here.

# %%
LOADERS = {
    "pickle.load": lambda path: pickle.loads(path.read_bytes()),
    "torch.load,\nweights_only=False": lambda path: torch.load(path, weights_only=False),
    "torch.load": torch.load,
    "load_untrusted": load_untrusted,
}


def try_loading(load, path):
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            load(path)
        outcome = "loaded"
    except Exception:
        outcome = "refused"
    return "ran code" if code_has_run() else outcome


grid = [
    [try_loading(load, path) for load in LOADERS.values()]
    for path in lesson.progress(files, "loading")
]
lesson.show_table(
    [(path.name, *row) for path, row in zip(files, grid, strict=True)],
    ["file", *(name.replace("\n", " ") for name in LOADERS)],
)

# %%
COLORS = {"ran code": plots.RED, "refused": "#D8D8D2", "loaded": plots.GREEN}
fig, axis = plots.figure(7.5, 4.2)
for y, row in enumerate(grid):
    for x, outcome in enumerate(row):
        axis.barh(y, 0.96, left=x, height=0.9, color=COLORS[outcome], alpha=0.85)
        axis.text(x + 0.48, y, outcome, ha="center", va="center", fontsize=9)
axis.set_yticks(range(len(files)), [path.name for path in files])
axis.set_xticks([x + 0.48 for x in range(len(LOADERS))], list(LOADERS))
axis.tick_params(length=0)
axis.invert_yaxis()
axis.grid(visible=False)
axis.set(xlabel="loader", ylabel="file")
plots.show(
    fig,
    alt="A grid of ten files against four loaders. The two loaders without protection run code from the hostile "
    "files. torch.load and load_untrusted never run code; both load the honest files.",
    caption="Red squares ran the payload. The two columns on the right have none.",
)
for name, outcomes in zip(LOADERS, zip(*grid, strict=True), strict=True):
    print(
        f"{name.replace(chr(10), ' '):32} ran code {outcomes.count('ran code')} times of {len(files)}"
    )
assert "ran code" not in [row[i] for row in grid for i in (2, 3)]
assert "ran code" in [row[0] for row in grid] and "ran code" in [row[1] for row in grid]

# %% [markdown]
# ## 4. The file that harms you without wanting to
#
# A disk, a cable or a memory chip flips a bit. `torch.save` has written a checksum (CRC-32) for every record.
#
# <details><summary>Predict: one bit of a weight has flipped. What does <code>torch.load</code> say?</summary>
#
# Nothing. It does not look at the checksum.
# </details>

# %%
torch.save({"w": torch.full((1000,), 0.5)}, scratch / "flipped.pt")
data = bytearray((scratch / "flipped.pt").read_bytes())
where = data.index(struct.pack("<f", 0.5) * 8)
data[where + 3] ^= 0b01000000
(scratch / "flipped.pt").write_bytes(data)

loaded = torch.load(scratch / "flipped.pt")["w"]
print("torch.load says nothing; the first weight is", loaded[0].item(), "and was 0.5")
with zipfile.ZipFile(scratch / "flipped.pt") as archive:
    print("zipfile names the record:", archive.testzip())
with lesson.expect_error(DamagedCheckpointError, match=r"record data/0.*?(?=\.)"):
    load_untrusted(scratch / "flipped.pt")
assert loaded[0] != 0.5

# %% [markdown]
# How bad is one bit? It depends on which. A float32 has 23 bits for its digits, 8 for its exponent, one for its sign.

# %%
bits = torch.tensor(0.5).view(torch.int32)
flipped = torch.stack(
    [(bits ^ (1 << bit if bit < 31 else -(2**31))).view(torch.float32) for bit in range(32)]
)
errors = (flipped - 0.5).abs()

fig, axis = plots.figure(7.5, 3)
colors = [plots.BLUE] * 23 + [plots.RED] * 8 + [plots.ORANGE]
axis.bar(range(32), errors, color=colors)
axis.set_yscale("log")
axis.set(xlabel="which of the 32 bits has flipped", ylabel="error of a weight of 0.5")
for color, label in ((plots.BLUE, "digits"), (plots.RED, "exponent"), (plots.ORANGE, "sign")):
    axis.bar(0, 0, color=color, label=label)
axis.legend(loc="upper left")
plots.show(
    fig,
    alt="The error on a logarithmic scale against the flipped bit. The digits give errors from 3e-8 to 0.25, doubling with "
    "every bit; the highest bit of the exponent gives 1.7e38; the sign gives 1.",
    caption="Most flips do nothing you would notice. One of them makes a weight of 170 million million million million million million.",
)
for bit in (0, 22, 23, 30, 31):
    print(f"bit {bit:2}: 0.5 becomes {flipped[bit].item():.6g}")

# %% [markdown]
# `load_checkpoint`, which the whole course uses, verifies every byte, at almost no cost: the checksum is computed
# faster than the disk delivers. Lesson 07 measures it.
#
# A checksum guards against accidents, not against people: whoever changes the file can write a new checksum. Against
# people you need a hash from a source you trust (or a signature), compared *before* loading:

# %%
import hashlib


def sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


published = sha256(scratch / "files" / "honest.pt")
print("the file that was published:", sha256(scratch / "files" / "honest.pt") == published)
print("another one:                ", sha256(scratch / "files" / "payload.pt") == published)

# %% [markdown]
# ## 5. A format that cannot carry code: safetensors
#
# A safetensors file is eight bytes with the length of a header, the header as JSON, and the numbers. There is nothing in
# it that a program could be. We read one by hand.

# %%
from safetensors.torch import load_file, save_file

save_file(
    {"w": torch.arange(4.0), "b": torch.zeros(2)},
    scratch / "small.safetensors",
    metadata={"by": "me"},
)

raw = (scratch / "small.safetensors").read_bytes()
(length,) = struct.unpack("<Q", raw[:8])
header = json.loads(raw[8 : 8 + length])
for name, entry in header.items():
    print(f"{name:14} {entry}")
start, stop = header["w"]["data_offsets"]
print("w by hand:", struct.unpack("<4f", raw[8 + length + start : 8 + length + stop]))

# %% [markdown]
# It is strict as well: overlapping or missing bytes, or a header that does not fit, are errors. What it lacks is a
# checksum, and anything that is not a tensor or a text. And it refuses tensors that share memory:

# %%
weight = torch.rand(4, 2)
tied = {"encoder.weight": weight, "decoder.weight": weight}
with lesson.expect_error(RuntimeError, match=r"(?s)\s*Some tensors share memory"):
    save_file(tied, scratch / "tied.safetensors")

# %% [markdown]
# `convert` makes a safetensors file of a checkpoint **without running it**: it reads the pickle as `audit` does and
# copies the numbers, block by block. Shared tensors are written once and listed in the metadata; plain numbers and
# texts go there, too.

# %%
from course_utils.convert import convert

torch.save({"model": tied, "epoch": 7, "note": "best so far"}, scratch / "checkpoint.pt")
report = convert(scratch / "checkpoint.pt", scratch / "checkpoint.safetensors")
print("tensors written:", report.tensors)
print("the same tensor:", report.shared)
print("values kept:    ", report.values)
assert torch.equal(load_file(scratch / "checkpoint.safetensors")["model.encoder.weight"], weight)

# %% [markdown]
# ## 6. The rule for strangers' files
#
# `load_untrusted` puts it together: audit, verify, load with `weights_only`, and drop whatever is not plain data.

# %%
lesson.show_source(load_untrusted)

# %%
state = load_untrusted(scratch / "files" / "honest.pt")
print("honest: ", state)
for name in ("payload.pt", "nested.pt", "two_in_one.pt", "with_numpy.pt"):
    with lesson.expect_error(
        UnsafeCheckpointError, match=r"[\w.]+: (would run code|needs these globals)"
    ):
        load_untrusted(scratch / "files" / name)
ran = code_has_run()
print("code has run:", ran)
assert not ran

# %% [markdown]
# ## In short
#
# | situation | do |
# |---|---|
# | your own files | plain types only; `load_checkpoint` |
# | a friend's file that needs a class | `safe_globals([that class])` for one load, after `audit` |
# | a stranger's file | `audit`, then `load_untrusted`; or `convert` to safetensors |
# | "just pass weights_only=False" | do not |
# | a start script with `TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD` | remove it |
# | bits that flip | verify checksums |
# | people who flip bits | compare a SHA-256 from a source you trust |
#
# **Your turn:** [the exercises of this lesson](exercises/06_untrusted_files.ipynb). Then
# [07 Checkpoints that survive](07_checkpoints_that_survive.ipynb).
#
# Further reading: [`torch.load`](https://docs.pytorch.org/docs/stable/generated/torch.load.html) and
# [its notes on weights_only](https://docs.pytorch.org/docs/stable/notes/serialization.html#weights-only-security) (default
# since 2.6); [the safetensors format](https://github.com/huggingface/safetensors#format);
# [pickle's own warning](https://docs.python.org/3/library/pickle.html).
