# %% [markdown]
# # 09 · After TorchScript: six files for one model
#
# [Lesson 05](05_torchscript.ipynb) ended with a deprecated format. What do you write today, if a model must leave
# the Python that made it? There are six kinds of file, and each answers another question.
#
# After this lesson you will be able to
#
# - export a model with `torch.export`, compile it with AOTInductor, and write it as ONNX, each checked,
# - choose a kind of file by size, speed, safety and where it runs,
# - move a model from TorchScript, trap by trap.
#
# **Time:** 50 minutes, of which the compiler takes two. **Needs:** [05 TorchScript](05_torchscript.ipynb),
# [06 untrusted files](06_untrusted_files.ipynb). Without a C++ compiler, section 4 says what it skips.

# %%
import contextlib
import copy
import io
import json
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import torch
from torch import nn

from course_utils.errors import CheckpointError
from course_utils.lessons import lesson, plots, traps
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

# %% [markdown]
# The model of this lesson tells the digits 0 to 5 apart. It is trained here, in two seconds.

# %%
model = pretrain().eval()
images, labels = digits(train=False, classes=range(6), size=16).tensors
with torch.no_grad():
    expected = model(images)
accuracy = (expected.argmax(1) == labels).float().mean().item()
print(
    f"{len(images)} test images {tuple(images.shape[1:])}, more than 9 of 10 right:", accuracy > 0.9
)
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
    print(f"{node.op:14}{node.name:10}{node.target}")

# %% [markdown]
# <details><summary>Predict: the example had four images. What happens with five?</summary>
#
# An error. Every size is a constant, unless you say otherwise. But it **is** an error: a trace would have
# gone on.
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
    same = [torch.equal(run(images[:n]), model(images[:n])) for n in (1, 2, 5, len(images))]
print("the same bits for 1, 2, 5 and all images:", same)
assert all(same)

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
print("files written:", sorted(path.name for path in scratch.iterdir()))
assert not list(scratch.iterdir())

# %%
from course_utils.portable import export

lesson.show_source(export_program, export._export, export._program)

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
print(last["target"], [item["arg"] for item in last["inputs"]])

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
print("our loader ran it:", marker.exists())
assert not marker.exists()

# %%
with contextlib.suppress(Exception), contextlib.redirect_stderr(io.StringIO()):
    torch.export.load(scratch / "evil.pt2")
print("torch.export.load ran it:", marker.exists())
assert marker.exists()

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
# ## 3. ONNX: other people's runtimes
#
# ONNX is a standard for such graphs. onnxruntime and many others run it, on phones, in browsers, from C++, C#, Java or
# Rust. `torch.onnx` starts from the same exported program.

# %%
export_onnx(model, images[:4], scratch / "model.onnx")
in_onnx = load_onnx(scratch / "model.onnx")(images)
print("close to 1e-4:       ", torch.allclose(in_onnx, expected, atol=1e-4))
print("the same predictions:", torch.equal(in_onnx.argmax(1), expected.argmax(1)))
assert torch.allclose(in_onnx, expected, atol=1e-4)

# %% [markdown]
# Another library has other kernels, and adds up in another order. So `export_onnx` compares with a tolerance, and you
# should compare what you care about: predictions.
#
# The graph is data and nothing in it is Python. Let us look at it:

# %%
import onnx

stored = onnx.load(scratch / "model.onnx")
print(
    "input: ",
    stored.graph.input[0].name,
    "batch is free:",
    bool(stored.graph.input[0].type.tensor_type.shape.dim[0].dim_param),
)
print("operators:", sorted({node.op_type for node in stored.graph.node}))
assert stored.graph.input[0].type.tensor_type.shape.dim[0].dim_param

# %% [markdown]
# No `BatchNormalization`? The exporter has multiplied it into the convolutions: fewer operators, and a reason why the last
# bits differ. It also means that you cannot get the `state_dict` back out of the file.

# %% [markdown]
# ## 4. AOTInductor: a program becomes machine code
#
# AOTInductor is the compiler behind `torch.compile`, run **ahead of time**. It writes C++, calls your compiler, and packs a
# shared library, weights included. This is what replaces TorchScript in C++ programs.

# %% tags=["nbval-ignore-output"]
try:
    cpp_runner.find_compiler()
    compile_package(model, images[:4], scratch / "package.pt2")
    runner = cpp_runner.build_runner(Path("scratch") / "cpp", "run_package.cpp")
    print("compiled the model and the C++ program that runs it")
except cpp_runner.NoCompilerError as problem:
    runner = None
    print("Skipped: the compiled package.", problem)
compiled = runner is not None

# %%
close = same = True  # if the compiler is missing, nothing is compared
if compiled:
    in_package = load_package(scratch / "package.pt2", trusted=True)(images)
    from_cpp = cpp_runner.run_in_cpp(runner, scratch / "package.pt2", images, scratch)
    close = torch.allclose(in_package, expected, atol=1e-4)
    same = torch.equal(from_cpp, in_package)
print("close to the module, or skipped:              ", close)
print("C++ gives the same bits as Python, or skipped:", same)
assert close and same

# %% [markdown]
# The same machine code runs in both, so C++ and Python agree to the last bit. The module itself uses other kernels and agrees
# to rounding.
#
# This is the whole C++ program:

# %%
code = (cpp_runner.CPP / "run_package.cpp").read_text()
print(code[code.index("at::Tensor run") :])

# %% [markdown]
# <details><summary>Predict: the package was compiled for images of 16 × 16. The module takes any size. What does the package do
# with 32 × 32?</summary>
#
# It takes them and returns **wrong numbers**, without an error. With smaller images it reads memory that is not its own, and may
# crash. A program (section 1) has guards on its sizes, the compiled package has none.
# </details>
#
# Here is torch's own loader, in a process of its own:

# %%
PLAIN = """
import sys, torch
package = torch._inductor.aoti_load_package(sys.argv[1])
torch.save(package(torch.ones(2, 1, 32, 32)), sys.argv[2])
"""
large = torch.ones(2, 1, 32, 32)
wrong = True
if compiled:
    paths = [scratch / "package.pt2", scratch / "large.pt"]
    subprocess.run([sys.executable, "-c", PLAIN, *paths], check=True, capture_output=True)
    with torch.no_grad():
        wrong = not torch.allclose(torch.load(paths[1]), model(large), atol=1e-2)
print("torch's loader: no error and wrong numbers, or skipped:", wrong)
assert wrong

# %% [markdown]
# `compile_package` writes the sizes into the package's metadata, and both of our loaders look at them.

# %% tags=["nbval-ignore-output"]
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

# %% [markdown]
# ## 5. Six files side by side
#
# Now all six, with the same model: size, time to save (with the checks, and with the compiler's cache empty), to load, and to run
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
agree = {}
with torch.no_grad():
    for kind in kinds:
        loaded = kind.load(scratch / kind.file, DigitsCNN(num_classes=6).eval())
        agree[kind.name] = torch.allclose(loaded(images), expected, atol=1e-4)
print("every file gives the model's outputs:", all(agree.values()))
smallest = min(costs, key=lambda name: costs[name].bytes)
print("the smallest file:", smallest)
assert all(agree.values()) and smallest == "safetensors"

# %% tags=["nbval-ignore-output"]
fig, axes = plots.figure(11, 3.4, ncols=4, sharey=True)
columns = [
    ("file size (kB)", [c.bytes / 1e3 for c in costs.values()]),
    ("save (s)", [c.save for c in costs.values()]),
    ("load (ms)", [c.load * 1e3 for c in costs.values()]),
    ("run 64 images (ms)", [c.run * 1e3 for c in costs.values()]),
]
for axis, (label, values), color in zip(axes, columns, plots.COLORS, strict=False):
    bars = axis.barh(list(costs), values, color=color)
    axis.bar_label(
        bars, [f"{v:,.0f}" if v >= 100 else f"{v:.2g}" for v in values], padding=3, fontsize=9
    )
    axis.set(xlabel=label, xscale="log" if max(values) > 10 * min(values) else "linear")
    axis.margins(x=0.35)
axes[0].invert_yaxis()
plots.show(
    fig,
    alt="Four bar charts for six kinds of file. state_dict, safetensors and ONNX are small; AOTInductor has by far "
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
alone = set(shapes.values()) == {"(2, 6)"}
print("those marked 'no' run without our classes:", alone)
assert alone, shapes

# %%
verdicts = {kind.name: audit(scratch / kind.file).verdict.value for kind in kinds}
verdicts.setdefault("AOTInductor", "would run code")  # skipped without a compiler
lesson.show_table([(k.name, verdicts[k.name]) for k in KINDS], ["file", "the audit says"])
assert verdicts["state_dict"] == verdicts["safetensors"] == "plain data"
assert verdicts["TorchScript"] == verdicts["AOTInductor"] == "would run code"

# %% [markdown]
# *Needs these globals* is the mild verdict for a program: torch's operators and nothing else. The audit does not know ONNX, which
# torch never loads; onnxruntime parses it as data.

# %% [markdown]
# ## 6. Moving from TorchScript
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
    rescue = torch.equal(again.eval()(images), expected)
print("the rescued model gives the same bits:", rescue)
assert rescue

# %% [markdown]
# ## In short
#
# | you want | write |
# |---|---|
# | to train on, or to publish weights | a `state_dict`, or safetensors |
# | a model without its class, in Python | `torch.export` |
# | a model in a C++ program, on machines like yours | AOTInductor |
# | a model in other languages, browsers, phones | ONNX |
# | what an old C++ program loads | TorchScript |
# | to load a stranger's file | safetensors or ONNX; a program only after an audit; never machine code |
#
# **Your turn:** [the exercises of this lesson](exercises/09_after_torchscript.ipynb).
#
# Further reading: [torch.export](https://docs.pytorch.org/docs/stable/export.html) and
# [AOTInductor](https://docs.pytorch.org/docs/stable/torch.compiler_aot_inductor.html), both changed with almost every release up to 2.14;
# [torch.cond](https://docs.pytorch.org/docs/stable/cond.html);
# [torch.onnx](https://docs.pytorch.org/docs/stable/onnx.html), whose exporter is built on `torch.export` since 2.9;
# [the ONNX format](https://onnx.ai/onnx/intro/concepts.html).
