# %% [markdown]
# # 09 · After TorchScript: one model, many files
#
# [Lesson 05](05_torchscript.ipynb) ended with a deprecated format. What do you write today, if a model must leave
# the Python that made it? **Who loads it, where, and from whom does it come?** Each kind of file answers another
# question.
#
# After this lesson you will be able to
#
# - export a model with `torch.export`, compile it with AOTInductor, and write it as ONNX, each checked,
# - choose a kind of file by size, speed, safety and where it runs,
# - move a model from TorchScript, trap by trap.
#
# **Time:** 50 minutes, of which the compiler takes three. **Needs:** [05 TorchScript](05_torchscript.ipynb),
# [06 untrusted files](06_untrusted_files.ipynb). Without a C++ compiler, section 4 says what it skips.

# %% [markdown]
# **Do you remember?** Answer first, then open.
#
# <details><summary>What does a trace keep of a branch on the data? (05)</summary>
#
# The way that its example went. The other is not in the file.
# </details>
# <details><summary>Why is loading a <code>.pt2</code> from a stranger dangerous? (06)</summary>
#
# The sizes in its JSON are evaluated as Python, and it may hold pickles.
# </details>
# <details><summary>Can safetensors hold two names for one tensor? (06)</summary>
#
# No. One name is written, the other noted in the metadata, and both are tied again when loaded.
# </details>

# %%
import contextlib
import copy
import io
import json
import os
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import torch
from torch import nn

from course_utils.errors import CheckpointError
from course_utils.lessons import diagrams, lesson, plots, traps
from course_utils.lessons.data import digits
from course_utils.lessons.models import DigitsCNN
from course_utils.lessons.transfer import pretrain
from course_utils.portable import (
    compile_package,
    cpp_runner,
    disagreements,
    export_onnx,
    export_program,
    load_onnx,
    load_package,
    load_program,
    probes_like,
)
from course_utils.safety import audit

scratch = lesson.start("09_after_torchscript")

# %% jupyter={"source_hidden": true}
diagrams.which_format()

# %% [markdown]
# The model of this lesson tells the digits 0 to 5 apart. It is trained here, in two seconds.

# %%
model = pretrain().eval()
images, labels = digits(train=False, classes=range(6), size=16).tensors
with torch.no_grad():
    expected = model(images)
accuracy = (expected.argmax(1) == labels).float().mean().item()
print(f"{len(images)} test images {tuple(images.shape[1:])}, test accuracy {accuracy:.2f}")
assert accuracy > 0.9

# %% [markdown]
# ## 1. A program instead of a trace
#
# `torch.export` runs the module once, as tracing does, but with **symbolic** tensors: it knows shapes and types,
# not values. The result is a graph of operators. Where the Python code asks for a value, the export stops
# instead of guessing.

# %%
program = torch.export.export(model, (images[:4],))
for node in list(program.graph.nodes)[-5:]:
    print(f"{node.op:14} {node.name:16} {node.target}")

# %% [markdown]
# **Predict.** The example had four images. What does the exported program do with five?
#
# <details><summary>A. It computes five: a batch is a batch.</summary>
#
# Every size is a constant in it, unless you say otherwise.
# </details>
# <details><summary>B. It raises an error.</summary>
#
# Right, and that is its merit: it *guards* the sizes it was made for. A trace would have gone on.
# </details>
# <details><summary>C. It computes the first four.</summary>
#
# That is what a traced loop over the batch would do (lesson 05).
# </details>

# %%
with lesson.expect_error(AssertionError):
    program.module()(images[:5])

# %% [markdown]
# Say which size is free, and it becomes a symbol with a range:

# %%
batch = torch.export.Dim("batch", min=1)
program = torch.export.export(model, (images[:4],), dynamic_shapes=({0: batch},))
run = program.module()
with torch.no_grad():
    differing = {
        n: int((run(images[:n]) != model(images[:n])).sum()) for n in (1, 2, 5, len(images))
    }
print("images, and outputs that differ in any bit:", differing)
assert not any(differing.values())

# %% [markdown]
# The mode is frozen too, and a program says so, where a trace kept silent. So call `model.eval()` **before** the
# export.

# %%
with lesson.expect_error(NotImplementedError):
    run.eval()

# %% [markdown]
# And the branch of lesson 05, on which a trace lied? The export refuses it. torch's message is long;
# `export_program` keeps what is wrong and where.

# %%
x = torch.rand(4, 3) + 1
with lesson.expect_error(CheckpointError):
    export_program(traps.BranchOnData(), x, scratch / "branch.pt2")

# %% [markdown]
# It does not refuse everything. **State in Python** still becomes a constant, silently. So `export_program` checks as
# `export_script` does: it loads the file it is about to write and runs it on inputs it has not seen.

# %%
with lesson.expect_error(CheckpointError):
    export_program(traps.CountsInPython(), x, scratch / "counts.pt2")
print("files written:", sorted(path.name for path in scratch.glob("*.pt2")))
assert not (scratch / "counts.pt2").exists() and not (scratch / "branch.pt2").exists()

# %%
from course_utils.portable import export

lesson.show_source(export_program, export._export, export._program)

# %% [markdown]
# **Try it:** export with `Dim("batch", min=2, max=8)` and call the program with nine images.

# %%
export_program(model, images[:4], scratch / "program.pt2")

# %% [markdown]
# ## 2. What is in a `.pt2`
#
# A zip archive again. The weights are plain bytes; `model.json` is the graph.

# %%
with zipfile.ZipFile(scratch / "program.pt2") as archive:
    sizes = {entry.filename.split("/", 1)[1]: entry.file_size for entry in archive.infolist()}
    graph = json.loads(archive.read("program/models/model.json"))
weights = {name: size for name, size in sizes.items() if name.startswith("data/weights/weight_")}
state = {**dict(model.named_parameters()), **dict(model.named_buffers())}
lesson.show_table(
    [
        ("data/weights/weight_0 …", f"{len(weights)} files, {sum(weights.values()):,} bytes"),
        *((name, "") for name in sizes if name.endswith((".json", ".pt"))),
    ],
    ["record", "content"],
)
assert sum(weights.values()) == sum(tensor.nbytes for tensor in state.values())

# %%
last = graph["graph_module"]["graph"]["nodes"][-1]
print(last["target"], *(item["arg"] for item in last["inputs"]), sep="\n  ")

# %% [markdown]
# Two things that you may not expect are in the file of plain `torch.export.save`: **your example's values**, and
# **the paths of your source files**. `export_program` writes zeros and nothing instead.


# %%
def holds(path, needle):
    """Say whether any record of a zip file holds these bytes."""
    with zipfile.ZipFile(path) as archive:
        return any(needle in archive.read(name) for name in archive.namelist())


torch.export.save(program, scratch / "plain.pt2")
example, source = images[:4].numpy().tobytes(), b"course_utils/lessons/models.py"
rows = [
    (name, holds(scratch / name, example), holds(scratch / name, source))
    for name in ("plain.pt2", "program.pt2")
]
lesson.show_table(rows, ["file", "holds the example images", "holds source paths"])
assert rows == [("plain.pt2", True, True), ("program.pt2", False, False)]

# %% [markdown]
# ### From strangers
#
# `torch.export.load` has no `weights_only`. One record is a pickle. But even without it: sizes in `model.json` are text
# that is **evaluated**. Here is a harmless file that shows it. We change one size into a call that makes a file.

# %%
marker = scratch / "was here"
marker.unlink(missing_ok=True)


def with_evil_size(source, target, code):
    """Copy a program; its first symbolic size becomes Python code."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name.endswith("model.json"):
                sizes = content.split(b'"expr_str": ', 1)
                content = sizes[0] + b'"expr_str": ' + json.dumps(code).encode()
                content += b', "was": ' + sizes[1]
            new.writestr(name.replace(source.stem, target.stem, 1), content)


with_evil_size(
    scratch / "program.pt2",
    scratch / "evil.pt2",
    f"__import__('pathlib').Path({str(marker)!r}).touch()",
)
with lesson.expect_error(CheckpointError):
    load_program(scratch / "evil.pt2")
print("files it made:", [path.name for path in scratch.glob("was*")])
assert not marker.exists()

# %%
with contextlib.suppress(Exception), contextlib.redirect_stderr(io.StringIO()):
    torch.export.load(scratch / "evil.pt2")
print("files that torch.export.load made:", [path.name for path in scratch.glob("was*")])
assert marker.exists()
marker.unlink()

# %% [markdown]
# There are more such places: the pickles, the containers that `model.json` names (their modules are imported), and operators that
# open files (`aten.from_file`). `load_program` audits the file first (lesson 06), and loads it only if it does nothing but call
# torch's operators on tensors.

# %%
lesson.show_source(load_program)
print(audit(scratch / "program.pt2").findings[0].reason)
with torch.no_grad():
    assert torch.equal(load_program(scratch / "program.pt2").module()(images), expected)

# %% [markdown]
# **Try it:** `ckpt audit` on `plain.pt2`. What is its one pickle?

# %% [markdown]
# ## 3. ONNX: other people's runtimes
#
# ONNX is a standard for such graphs. onnxruntime and many others run it, on phones, in browsers, from C++, C#, Java or
# Rust. `torch.onnx` starts from the same exported program.

# The library's own call:

# %%
folder = scratch / "onnx"
folder.mkdir(exist_ok=True)
with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
    torch.onnx.export(
        model,
        (images[:4],),
        folder / "plain.onnx",
        dynamo=True,
        dynamic_shapes=({0: "batch"},),
        verbose=False,
    )
for path in sorted(folder.iterdir()):
    size = f"{path.stat().st_size:,} bytes" if path.suffix == ".data" else "the graph"
    print(f"{path.name:16} {size}")

# %% [markdown]
# Two files! The weights went into an **external** one, which the first names. Whoever gets only
# `plain.onnx` has a graph without numbers; whoever gets the `.data` of *another* export under the same
# name gets wrong numbers, if the sizes agree. Below 2 GB one file will do: `external_data=False`.
#
# `export_onnx` makes that choice, checks the result as above, and writes atomically.

# %%
export_onnx(model, images[:4], scratch / "model.onnx")
in_onnx = load_onnx(scratch / "model.onnx")(images)
apart = (in_onnx - expected).abs().max().item()
print(
    f"predictions that differ: {int((in_onnx.argmax(1) != expected.argmax(1)).sum())} of {len(images)}"
)
assert apart < 1e-4 and (in_onnx.argmax(1) == expected.argmax(1)).all()

# %% tags=["nbval-ignore-output"]
print(
    f"largest difference of an output: {apart:.0e}, where outputs go up to {expected.abs().max():.0f}"
)

# %% [markdown]
# Another library has other kernels, and adds up in another order. So `export_onnx` compares with a tolerance, and you
# should compare what you care about: predictions.
#
# The graph is data and nothing in it is Python. Let us look at it:

# %%
import onnx

stored = onnx.load(scratch / "model.onnx")
sizes = stored.graph.input[0].type.tensor_type.shape.dim
shape = ["free" if size.dim_param else size.dim_value for size in sizes]
print("input:    ", stored.graph.input[0].name, shape)
print("operators:", sorted({node.op_type for node in stored.graph.node}))
assert stored.graph.input[0].type.tensor_type.shape.dim[0].dim_param

# %% [markdown]
# No `BatchNormalization`? The exporter has multiplied it into the convolutions: fewer operators, and a reason why the last
# bits differ. It also means that you cannot get the `state_dict` back out of the file.
#
# **Try it:** delete `plain.onnx.data` and load `plain.onnx` with onnxruntime. What does it say?

# %% [markdown]
# ## 4. AOTInductor: a program becomes machine code
#
# AOTInductor is the compiler behind `torch.compile`, run **ahead of time**. It writes C++, calls your compiler, and packs a
# shared library, weights included. This is what replaces TorchScript in C++ programs.

# The library's own two calls:

# %% tags=["nbval-ignore-output"]
try:
    cpp_runner.find_compiler()
    with torch.no_grad(), contextlib.redirect_stderr(io.StringIO()):
        torch._inductor.aoti_compile_and_package(
            program, package_path=os.path.abspath(scratch / "plain_package.pt2")
        )
    in_package = torch._inductor.aoti_load_package(os.path.abspath(scratch / "plain_package.pt2"))(
        images
    )
    compiled = True
    print(f"{(scratch / 'plain_package.pt2').stat().st_size:,} bytes of machine code and weights")
    print(f"largest difference to the module: {(in_package - expected).abs().max():.0e}")
except cpp_runner.NoCompilerError as problem:
    compiled = False
    print("Skipped: the compiled package.", problem)

# %% [markdown]
# `compile_package` checks what they made, and keeps the sizes in the file. The C++ program is compiled as well:

# %% tags=["nbval-ignore-output"]
if compiled:
    compile_package(model, images[:4], scratch / "package.pt2")
    runner = cpp_runner.build_runner(Path("scratch") / "cpp", "run_package.cpp")
    in_package = load_package(scratch / "package.pt2", trusted=True)(images)
    from_cpp = cpp_runner.run_in_cpp(runner, scratch / "package.pt2", images, scratch)
    apart = {"module": expected, "C++": from_cpp}
    for name, outputs in apart.items():
        apart[name] = (in_package - outputs).abs().max().item()
        print(f"package in Python, largest difference to {name:6}: {apart[name]:.0e}")
    assert apart["module"] < 1e-4 and apart["C++"] == 0
else:
    print("Skipped, as there is no compiler.")

# %% [markdown]
# The same machine code runs in both, so C++ and Python agree to the last bit. The module itself uses other kernels and agrees
# to rounding.
#
# This is the whole C++ program:

# %%
code = (cpp_runner.CPP / "run_package.cpp").read_text()
print(code[code.index("at::Tensor run") :])

# %% [markdown]
# **Predict.** The package was compiled for images of 16 × 16. The module itself takes any size.
# What does the package do with 32 × 32?
#
# <details><summary>A. It computes them, as the module does.</summary>
#
# The loops in the machine code count to 16. There is nothing else in it.
# </details>
# <details><summary>B. It raises an error, as the exported program did.</summary>
#
# It *has* such checks. By default they are off, for speed.
# </details>
# <details><summary>C. It returns wrong numbers.</summary>
#
# Right, by default: no error. With *smaller* images it would read memory that is not its own. The
# environment variable `AOTI_RUNTIME_CHECK_INPUTS=1` turns the checks on, as the next cells show.
# </details>
#
# Here is torch's own loader, in processes of their own, without the checks and with them:

# %% tags=["nbval-ignore-output"]
PLAIN = """
import sys, torch
from course_utils.lessons.models import DigitsCNN
run = torch._inductor.aoti_load_package(sys.argv[1])
batch = torch.ones(int(sys.argv[2]), 1, int(sys.argv[3]), int(sys.argv[3]))
model = DigitsCNN(num_classes=6).eval()
model.load_state_dict(torch.load(sys.argv[4]))
try:
    print(f"off by up to {(run(batch) - model(batch)).abs().max().item():.1g}")
except RuntimeError as error:
    print(error)
"""
rows = []
if compiled:
    torch.save(model.state_dict(), scratch / "weights.pt")
    for count, size in ((4, 16), (2, 32), (16, 16)):
        answers = []
        for checks in ("0", "1"):
            command = [sys.executable, "-c", PLAIN, os.path.abspath(scratch / "plain_package.pt2")]
            ran = subprocess.run(
                [*command, str(count), str(size), scratch / "weights.pt"],
                env={**os.environ, "AOTI_RUNTIME_CHECK_INPUTS": checks},
                capture_output=True,
                text=True,
                check=True,
            )
            answers.append(ran.stdout.strip())
        rows.append((f"{count} of {size} × {size}", *answers))
    assert "off by" in rows[1][1] and float(rows[1][1].split()[-1]) > 1e-2
    assert "unmatched dim value" in rows[1][2] and "too large" in rows[2][2]
lesson.show_table(rows, ["images", "as usual", "AOTI_RUNTIME_CHECK_INPUTS=1"])

# %% [markdown]
# Four images are right. Larger images give **wrong numbers**, unless the checks are on. And sixteen small images are right, but
# the checks refuse them: although the program said "batch, 1 or more", the compiler wrote down a range of 2 to 15 for the
# example of four. So turn the checks on while you test, and know their range. For a wider one, give `Dim` a `max`.

# %% [markdown]
# `compile_package` writes the sizes into the package's metadata, and both of our loaders look at them.

# %% tags=["nbval-ignore-output"]
large = torch.ones(2, 1, 32, 32)
if compiled:
    with lesson.expect_error(CheckpointError, match=r"(?s)compiled for .* got .*"):
        load_package(scratch / "package.pt2", trusted=True)(large)
    with lesson.expect_error(RuntimeError, match=r"(?s)compiled for .* got .*"):
        cpp_runner.run_in_cpp(runner, scratch / "package.pt2", large, scratch)
else:
    print("Skipped, as there is no package.")

# %% [markdown]
# Three more facts. The package is made for **this kind of processor**; another machine may lack its instructions. Loading it runs
# its machine code, so no audit can make a stranger's package safe, and `load_package` wants `trusted=True`. And it names the
# compiler's cache folder, which often holds your user name.
#
# **Try it:** `AOTI_RUNTIME_CHECK_INPUTS=1` and one image. Which bound is it this time?

# %% [markdown]
# ## 5. Small devices, small weights: ExecuTorch and torchao
#
# **ExecuTorch** runs exported programs on phones and microcontrollers; its wheel has a runtime for this
# processor, too. The file, `.pte`, is made in two steps from an exported program. The course does not
# install it with any of its extras: version 1.5.1 brings 15 packages more, one of them to be built from source.
# Where it is missing, the next cell says so, and the rest of the lesson does without.

# %% tags=["nbval-ignore-output"]
EXECUTORCH = """
import sys, torch
from executorch.exir import to_edge_transform_and_lower
from executorch.runtime import Runtime
program_file, batch_file, target = sys.argv[1:]
program = torch.export.load(program_file)
with open(target, "wb") as file:
    file.write(to_edge_transform_and_lower(program).to_executorch().buffer)
method = Runtime.get().load_program(target).load_method("forward")
batch = torch.load(batch_file)
outputs = method.execute([batch])[0]
difference = (outputs - program.module()(batch)).abs().max().item()
print(f"largest difference to the program: {difference:.0e}")
print("first bytes:", open(target, "rb").read(12))
try:
    method.execute([batch[:2]])
except RuntimeError as error:
    print("two images in place of four:", error)
"""
fixed = torch.export.export(model, (images[:4],))
torch.export.save(fixed, scratch / "fixed.pt2")
torch.save(images[:4].clone(), scratch / "batch.pt")
files = [scratch / name for name in ("fixed.pt2", "batch.pt", "model.pte")]
ran = subprocess.run([sys.executable, "-c", EXECUTORCH, *files], capture_output=True, text=True)
if "No module named 'executorch'" in ran.stderr:
    print("Skipped: `pip install executorch` brings it (300 MB).")
else:
    print(ran.stdout + f"{files[2].stat().st_size:,} bytes")
    assert ran.returncode == 0, ran.stderr
    assert float(ran.stdout.split("program: ")[1].split()[0]) < 1e-4

# %% [markdown]
# A `.pte` is data for a small interpreter, not a pickle. Sizes are fixed unless the program has a bounded `Dim`.
#
# **torchao** makes weights smaller: 8 bits in place of 32, with a scale for each row. The state_dict then holds
# tensors of other *classes*, and that has consequences:

# %% tags=["nbval-ignore-output"]
TORCHAO = """
import os, pickle, subprocess, sys, torch
from course_utils.lessons.models import MLP
folder = sys.argv[1]
model = MLP(hidden=512)
torch.save(model.state_dict(), f"{folder}/float.pt")
from torchao.quantization import Int8WeightOnlyConfig, quantize_
quantize_(model, Int8WeightOnlyConfig())
torch.save(model.state_dict(), f"{folder}/int8.pt")
for name in ("float.pt", "int8.pt"):
    print(f"{name:9} {os.path.getsize(f'{folder}/{name}'):>8,} bytes")
print("the weight is now a", type(model.head.weight).__name__)
code = "import sys, torch; torch.load(sys.argv[1])"
other = subprocess.run([sys.executable, "-c", code, f"{folder}/int8.pt"], capture_output=True, text=True)
print("loaded where torchao is not imported:", *(l for l in other.stderr.splitlines() if "GLOBAL" in l))
"""
ran = subprocess.run([sys.executable, "-c", TORCHAO, scratch], capture_output=True, text=True)
if "No module named 'torchao'" in ran.stderr:
    print("Skipped: `pip install torchao` brings it.")
else:
    lesson.print_folded(ran.stdout)
    assert ran.returncode == 0 and "Int8Tensor" in ran.stdout, ran.stderr

# %% [markdown]
# The file needs torchao to be *imported* before it will load, and into a model that has been quantized in the
# same way. Keep the float weights: they are the ones to train on and to quantize anew.
#
# **Try it:** load the float file into a quantized model. Which way round is an error?

# %% [markdown]
# ## 6. Six files side by side
#
# Now the six that need no more than this course installs, with the same model: size, time to save (with the checks, and with the compiler's cache empty), to load, and to run
# 64 images. The models here are tiny; with larger ones, the weights' bytes come to rule the first and third column.

# %%
from torch._inductor.utils import fresh_cache

from course_utils.lessons.model_files import KINDS, Cost, measure

lesson.show_source(measure)

# %% tags=["nbval-ignore-output"]
kinds = [kind for kind in KINDS if compiled or kind.name != "AOTInductor"]
costs: dict[str, Cost] = {}
with fresh_cache():
    for kind in lesson.progress(kinds, "writing and loading"):
        new = DigitsCNN(num_classes=6).eval()
        costs[kind.name] = measure(kind, model, new, images[:64], scratch)
lesson.show_table(
    [
        (name, f"{c.bytes:,}", f"{c.save:.3f}", f"{c.load * 1e3:.1f}", f"{c.run * 1e3:.1f}")
        for name, c in costs.items()
    ],
    ["file", "bytes", "save (s)", "load (ms)", "run 64 images (ms)"],
)

# %%
apart = {}
with torch.no_grad():
    for kind in kinds:
        loaded = kind.load(scratch / kind.file, DigitsCNN(num_classes=6).eval())
        apart[kind.name] = (loaded(images) - expected).abs().max().item()
smallest = min(costs, key=lambda name: costs[name].bytes)
print("the smallest file:", smallest)
exact = [name for name, difference in apart.items() if difference == 0]
print("outputs equal to the model's, bit for bit:", ", ".join(exact))
assert max(apart.values()) < 1e-4 and smallest == "safetensors"

# %% tags=["nbval-ignore-output"]
print("largest difference of an output:")
for name, value in apart.items():
    print(f"  {name:13}{value:.0e}")

# %% tags=["nbval-ignore-output"] jupyter={"source_hidden": true}
fig, axes = plots.figure(8.5, 5.6, nrows=2, ncols=2, sharey=True)
columns = [
    ("file size (kB)", [c.bytes / 1e3 for c in costs.values()]),
    ("save (s)", [c.save for c in costs.values()]),
    ("load (ms)", [c.load * 1e3 for c in costs.values()]),
    ("run 64 images (ms)", [c.run * 1e3 for c in costs.values()]),
]
for axis, (label, values), color in zip(axes.flat, columns, plots.COLORS, strict=False):
    axis.plot(values, list(costs), "o", ms=9, color=color)
    for place, value in enumerate(values):
        text = f"{value:,.0f}" if value >= 100 else f"{value:.2g}"
        axis.annotate(
            text, (value, place), (9, 0), textcoords="offset points", va="center", fontsize=9
        )
    axis.set(xlabel=label, xscale="log" if max(values) > 10 * min(values) else "linear")
    axis.margins(x=0.4, y=0.12)
axes[0, 0].invert_yaxis()
plots.show(
    fig,
    alt="Four charts with one dot for each of six kinds of file. state_dict, safetensors and ONNX are small; AOTInductor has by far "
    "the largest file and takes longest to write, and a torch.export program takes longest to load.",
    caption="Weights alone are quick to write. Files with the computation take longer, as they are checked; AOTInductor "
    "takes longest, as it compiles. Its machine code, and onnxruntime's, run faster than the module. Axes of wide "
    "range are logarithmic.",
)
for label, values in columns:
    print(f"{label:20}", "  ".join(f"{value:.3g}" for value in values))

# %% [markdown]
# Numbers are one thing; what you can do with the file decides more often.

# %%
lesson.show_table(
    [
        (k.name, "yes" if k.needs_class else "no", k.runs_in, k.from_strangers, k.future)
        for k in KINDS
    ],
    ["file", "needs the class", "runs in", "from strangers", "maintained"],
)

# %% [markdown]
# Do not take that on trust. *Needs the class*: a new process in which our package cannot be imported loads each file with torch and
# onnxruntime alone. *From strangers*: the audit of lesson 06 says what it sees in each.

# %%
WITHOUT_US = """
import sys, warnings
sys.modules["course_utils"] = None  # from here on, importing it fails
warnings.simplefilter("ignore")
import onnxruntime, torch
kind, path = sys.argv[1:]
images = torch.ones(2, 1, 16, 16)
if kind == "TorchScript":
    result = torch.jit.load(path)(images)
elif kind == "torch.export":
    result = torch.export.load(path).module()(images)
elif kind == "AOTInductor":
    result = torch._inductor.aoti_load_package(path)(images)
elif kind == "ONNX":
    session = onnxruntime.InferenceSession(path)
    result = session.run(None, {session.get_inputs()[0].name: images.numpy()})[0]
print(tuple(result.shape))
"""
shapes = {}
for kind in lesson.progress([k for k in kinds if not k.needs_class], "in new processes"):
    ran = subprocess.run(
        [sys.executable, "-c", WITHOUT_US, kind.name, scratch / kind.file],
        capture_output=True,
        text=True,
    )
    shapes[kind.name] = ran.stdout.strip() or ran.stderr
for name, shape in shapes.items():
    print(f"{name:13} two images gave outputs of shape {shape}")
assert set(shapes.values()) == {"(2, 6)"}, shapes

# %%
verdicts = {kind.name: audit(scratch / kind.file).verdict.value for kind in kinds}
verdicts.setdefault("AOTInductor", "would run code")  # skipped without a compiler
lesson.show_table([(k.name, verdicts[k.name]) for k in KINDS], ["file", "the audit says"])
assert verdicts["state_dict"] == verdicts["safetensors"] == "plain data"
assert verdicts["TorchScript"] == verdicts["AOTInductor"] == "would run code"

# %% [markdown]
# **Try it:** compare the sizes for a wider model, `DigitsCNN(num_classes=6, width=64)`. Which order changes?
#
# *Needs these globals* is the mild verdict for a program: torch's operators and nothing else. The audit does not know ONNX, which
# torch never loads; onnxruntime parses it as data.

# %% [markdown]
# ## 7. Moving from TorchScript
#
# The trap gallery of lesson 05 once more, now with plain `torch.export` beside the trace. *Lies* means: no error, other results
# than the module.


# %%
def plain_trace(module):
    return torch.jit.trace(module, x, check_trace=False)


def plain_export(module):
    free = ({0: torch.export.Dim.DYNAMIC},)
    return torch.export.export(module, (x,), dynamic_shapes=free).module()


def checked_export(module):
    export_program(module, x, scratch / "trap.pt2")
    return load_program(scratch / "trap.pt2").module()


def outcome(way, module):
    """Export a module one way and compare with the module itself, in eval mode."""
    with warnings.catch_warnings(record=True) as caught, contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("always")
        try:
            exported = way(copy.deepcopy(module))
        except (CheckpointError, RuntimeError):
            return "refused"
        reference = copy.deepcopy(module).eval()
        if disagreements(reference, exported, probes_like((x,)), tolerance=1e-6):
            return "lies"
    return "ok, warns" if any("on the device" in str(w.message) for w in caught) else "ok"


GALLERY = {
    "branch on the data": (traps.BranchOnData(), traps.BranchWithCond()),
    "loop over the batch": (traps.LoopOverBatch(), traps.NoLoop()),
    "state in Python": (traps.CountsInPython(), traps.CountsInBuffer()),
    "tensor made on x.device": (traps.DeviceConstant(), traps.DeviceFromBuffer(3)),
    "dropout in train()": (nn.Dropout().train(), nn.Dropout().eval()),
}
rows = []
for name, (wrong, right) in lesson.progress(list(GALLERY.items()), "exporting"):
    ways = [outcome(way, wrong) for way in (plain_trace, plain_export, checked_export)]
    rows.append((name, *ways, outcome(checked_export, right)))
lesson.show_table(
    rows,
    ["trap", "torch.jit.trace", "torch.export", "export_program", "repaired, export_program"],
)
assert [row[2] for row in rows] == ["refused", "refused", "lies", "ok", "lies"]
assert "lies" not in {row[3] for row in rows}
assert {row[4] for row in rows} == {"ok"}

# %% [markdown]
# Where the trace lied four times, plain `torch.export` lies twice, and the checked export never. (The device is a lie that no machine
# without a GPU can see, so it is a warning.) Of the repairs, one is new: a branch becomes `torch.cond`, which keeps both ways.

# %%
lesson.show_source(traps.BranchOnData, traps.BranchWithCond)

# %% [markdown]
# ### The recipe
#
# 1. **Keep the `state_dict`.** It is the one file from which you can make all others again. A TorchScript file without its Python source
#    still gives up its weights: `torch.jit.load(path).state_dict()`.
# 2. Call `eval()`, and export with **two rows or more** and a free batch size. A size of 1 counts as a constant.
# 3. Where the export refuses: `torch.where` or `torch.cond` for branches, whole-batch operations for loops, buffers for state and constants.
# 4. **Compare** on inputs the export has not seen, in the file you are going to ship.
# 5. `torch.jit.load` in C++ becomes `AOTIModelPackageLoader`; on other people's devices, ONNX.
# 6. Keep TorchScript files for programs that you cannot change: they still load.
#
# Step 1, done:

# %%
with warnings.catch_warnings():
    warnings.filterwarnings("ignore", message=r"`?torch\.jit")
    rescued = torch.jit.load(scratch / "script.pt").state_dict()
again = DigitsCNN(num_classes=6)
print(again.load_state_dict(rescued))
with torch.no_grad():
    differing = (again.eval()(images) != expected).sum()
print(f"outputs that differ in any bit: {int(differing)} of {expected.numel()}")
assert differing == 0

# %% [markdown]
# **Try it:** rescue the weights from `program.pt2` in the same way: `load_program(…).state_dict`.

# %% [markdown]
# ## In short
#
# | you want | write |
# |---|---|
# | to train on, or to publish weights | a `state_dict`, or safetensors |
# | a model without its class, in Python | `torch.export` |
# | a model in a C++ program, on machines like yours | AOTInductor |
# | a model in other languages or browsers | ONNX, with its `.data` file if it has one |
# | a model on a phone or a microcontroller | ExecuTorch |
# | what an old C++ program loads | TorchScript |
# | to load a stranger's file | safetensors or ONNX; a program only after an audit; never machine code |
#
# **Your turn:** [the exercises of this lesson](exercises/09_after_torchscript.ipynb). And then the
# [capstone](capstone.ipynb).
#
# Further reading: [torch.export](https://docs.pytorch.org/docs/stable/export.html) and
# [AOTInductor](https://docs.pytorch.org/docs/stable/torch.compiler_aot_inductor.html), both changed with almost every release up to 2.14;
# [ExecuTorch](https://docs.pytorch.org/executorch/stable/index.html);
# [torchao](https://docs.pytorch.org/ao/stable/index.html);
# [torch.cond](https://docs.pytorch.org/docs/stable/cond.html);
# [torch.onnx](https://docs.pytorch.org/docs/stable/onnx.html), whose exporter is built on `torch.export` since 2.9;
# [the ONNX format](https://onnx.ai/onnx/intro/concepts.html).

# %%
lesson.finish(scratch)
