# %% [markdown]
# # 05 · TorchScript (legacy), and a C++ program that loads it
#
# A `state_dict` needs the Python class to become a model again. A phone, a game or a server in C++ has
# no Python. **TorchScript** stores the weights *and* the computation, in a language of its own that
# libtorch runs.
#
# After this lesson you will be able to
#
# - say when to trace and when to script, and catch a trace that lies,
# - open a TorchScript file and read the program in it,
# - compile a C++ program that loads your model and gives the same bits.
#
# **Time:** 45 minutes. **Needs:** [01 state_dict anatomy](01_state_dict_anatomy.ipynb). A C++ compiler
# is welcome; without one, section 5 says what it skips.
#
# **TorchScript is legacy:** deprecated, and not supported from Python 3.14 on. It still runs in very many
# places, so you will meet its files. Section 6 says where it stands. For something new, go to
# [lesson 09](09_after_torchscript.ipynb).

# %% [markdown]
# **Do you remember?** Answer first, then open.
#
# <details><summary>Is the code of the model in a state_dict? (01)</summary>
#
# No. Neither the code nor the shape of the network.
# </details>
# <details><summary>What breaks when a whole pickled model is loaded after its file was renamed?
# (01)</summary>
#
# The import: a pickle stores the class as a path.
# </details>
# <details><summary>What does <code>map_location</code> move? (04)</summary>
#
# Storages in the file. A device that the *program* names is not a storage.
# </details>

# %%
import re
import textwrap
import warnings
import zipfile
from pathlib import Path

import torch
from torch import nn

from course_utils.lessons import lesson, plots, traps
from course_utils.lessons.models import DigitsCNN
from course_utils.portable import export_script, inspect_script, load_script

scratch = lesson.start("05_torchscript")
# torch.jit warns that it is deprecated; its category changes between releases, its words do not.
warnings.filterwarnings("ignore", message=r"`?torch\.jit")

# %% [markdown]
# ## 1. Two ways to a program
#
# **Tracing** runs the module once on an example and writes down every tensor operation. **Scripting**
# reads the source of `forward` and compiles it. This one line is all that many programs do:

# %%
model = DigitsCNN(dropout=0.5).eval()
example = torch.rand(4, 1, 8, 8)

torch.jit.trace(model, example).save(scratch / "model.pt")

loaded = torch.jit.load(scratch / "model.pt")
differing = (loaded(example) != model(example)).sum()
print(f"outputs that differ: {int(differing)} of {model(example).numel()}")
print("the class is not needed: it is now a", type(loaded).__name__)
assert torch.equal(loaded(example), model(example))

# %% [markdown]
# What was written down? The trace of a small module can be read:


# %%
class Scale(nn.Module):
    def forward(self, x):
        return x * x.shape[1] + 1


print(torch.jit.trace(Scale(), torch.ones(2, 3)).code)

# %% [markdown]
# Plain Python is gone: no module, no attribute, only operations on tensors. That is the strength of a
# trace, and its danger.
#
# **Try it:** `torch.jit.script(Scale()).code`. What of the Python is left there?

# %% [markdown]
# ## 2. A trace that lies
#
# Here is a module with a branch that depends on the data.

# %%
lesson.show_source(traps.BranchOnData)

# %% [markdown]
# **Predict.** We trace the module with an example whose sum is positive, and call the trace with
# all values at -1. What comes out?
#
# <details><summary>A. +1, as from the module.</summary>
#
# The trace would need both ways of the branch. It followed one.
# </details>
# <details><summary>B. -1.</summary>
#
# Right: a wrong result, without an error. The trace went one way through the branch and has never
# heard of the other.
# </details>
# <details><summary>C. An error: this way was not traced.</summary>
#
# The trace does not know that there was a branch, so it cannot know that this input leaves it.
# </details>

# %%
module, positive, negative = traps.BranchOnData(), torch.ones(1, 3), -torch.ones(1, 3)
with warnings.catch_warnings(record=True) as caught:
    warnings.filterwarnings("always", category=torch.jit.TracerWarning)
    traced = torch.jit.trace(module, positive)
scripted = torch.jit.script(module)
lesson.show_table(
    [
        ("module", module(positive).tolist(), module(negative).tolist()),
        ("trace", traced(positive).tolist(), traced(negative).tolist()),
        ("script", scripted(positive).tolist(), scripted(negative).tolist()),
    ],
    ["", "for +1", "for -1"],
)
warning = next(w for w in caught if issubclass(w.category, torch.jit.TracerWarning))
print(textwrap.fill(f"{warning.category.__name__}: {warning.message}", 100))
assert not torch.equal(traced(negative), module(negative))
assert torch.equal(scripted(negative), module(negative))

# %% [markdown]
# There was a warning, one of many that people learn to scroll past. `torch.jit.trace` also checks its
# result (`check_trace=True`), but on **the same example**, so it goes the same way. Give it other inputs:

# %%
with lesson.expect_error(torch.jit.TracingCheckError, match="Tracing failed sanity checks"):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(module, positive, check_inputs=[(negative,)])

# %% [markdown]
# `export_script` does this always: it runs the file it is about to write on other values and other batch
# sizes, and refuses with the difference. It also puts the module into `eval()` for the export, and back.

# %%
from course_utils.errors import DisagreementError

branch = lesson.fresh(scratch / "branch.pt")
with lesson.expect_error(DisagreementError):
    export_script(traps.BranchOnData(), positive, branch)
print("files written:", [path.name for path in scratch.glob("branch*")])
assert not branch.exists()

# %%
export_script(traps.BranchOnData(), positive, branch, mode="script")
print(load_script(branch).module(negative).tolist())

# %%
lesson.show_source(export_script)

# %% [markdown]
# **Try it:** export `BranchInTensors` with `mode="trace"`. Why does that one pass?

# %% [markdown]
# ## 3. The gallery of traps
#
# Five ways in which an export computes something else than the module. First **dropout**: a module traced
# in training mode keeps its dropout for good, whatever you call later.

# %%
dropout = nn.Dropout(0.5)
ones = torch.ones(1, 8)
frozen = torch.jit.trace(dropout.train(), ones, check_trace=False).eval()
print(
    "traced in train(), then .eval():",
    sorted(set(torch.cat([frozen(ones) for _ in range(9)]).flatten().tolist())),
)
right = torch.jit.trace(dropout.eval(), ones)
print("traced in eval():               ", sorted(set(right(ones).flatten().tolist())))
assert not torch.equal(frozen(ones.repeat(9, 1)), ones.repeat(9, 1)) and torch.equal(
    right(ones), ones
)

# %% [markdown]
# **Loops** over the batch are repeated as often as the example had rows. **Python state** is read once and
# becomes a constant. Each has a version beside it that exports well:

# %%
lesson.show_source(traps.LoopOverBatch, traps.NoLoop, traps.CountsInPython, traps.CountsInBuffer)


# %%
def outcome(module, mode):
    """Try to export a module, and say how it went."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            export_script(module, torch.rand(4, 3) + 1, scratch / "trap.pt", mode=mode)
        except DisagreementError:
            return "refused"
    named = any("names the device" in str(w.message) for w in caught)
    return "a device is frozen" if named else "ok"


GALLERY = {
    "branch on the data": (traps.BranchOnData(), traps.BranchInTensors()),
    "loop over the batch": (traps.LoopOverBatch(), traps.NoLoop()),
    "state in Python": (traps.CountsInPython(), traps.CountsInBuffer()),
    "tensor made on x.device": (traps.DeviceConstant(), traps.DeviceFromBuffer(3)),
}
rows = []
for name, (wrong, right) in lesson.progress(list(GALLERY.items()), "exporting"):
    rows.append((name, *(outcome(m, mode) for m in (wrong, right) for mode in ("trace", "script"))))
lesson.show_table(
    rows, ["trap", "wrong, traced", "wrong, scripted", "right, traced", "right, scripted"]
)
assert all(row[1] != "ok" and row[2:] == ("ok", "ok", "ok") for row in rows)

# %% [markdown]
# Rewriting without Python control flow (*right*) works both ways, and will also work with the tools of
# lesson 09. Scripting the *wrong* ones works too, as long as the compiler understands all of your Python.
#
# The last line of the table is about **devices**. A trace made on this CPU writes the CPU into the program:

# %%
traced = torch.jit.trace(traps.DeviceConstant(), torch.ones(2, 3))
lesson.print_folded("\n".join(line for line in traced.code.splitlines() if "arange" in line))
scripted = torch.jit.script(traps.DeviceConstant())
print("\n".join(line for line in scripted.code.splitlines() if "arange" in line))
assert 'torch.device("cpu")' in traced.code and "prim.device(x)" in scripted.code

# %% [markdown]
# On a GPU the first one would add a CPU tensor to a CUDA tensor and fail, and `map_location` cannot help,
# since it moves *stored* tensors. `export_script` warns about this.
#
# **Try it:** write a sixth trap, for example one that draws `torch.rand`, and export it both ways.

# %% [markdown]
# ## 4. What is in the file
#
# It is a zip archive again, with one thing more than a checkpoint: `code/`.

# %%
export_script(
    traps.BranchOnData(),
    positive,
    scratch / "described.pt",
    mode="script",
    extra_files={"classes.txt": "negative\npositive"},
)
report = inspect_script(scratch / "described.pt")


def plain(name):
    """Drop the number that TorchScript adds when it meets a class again."""
    return re.sub(r"[./]___torch_mangle_\d+", "", name)


lesson.show_table(
    [
        (plain(name), "varies: it names the version" if "metadata" in name else size)
        for name, size in report.records.items()
        if "debug" not in name and not name.startswith(".")
    ],
    ["record", "bytes"],
)

# %%
(source,) = report.code.values()
print(plain(source[source.index("  def forward") :]))

# %% [markdown]
# That is the language TorchScript: a typed subset of Python. `inspect_script` reads it without running it.
#
# `extra/` holds texts of your choice. Ours always has the inputs' shapes and the versions, because the person
# who loads the file has nothing else to go by.

# %% tags=["nbval-ignore-output"]
script = load_script(scratch / "described.pt", map_location="cpu")
print(script.metadata)
print(script.extra_files)

# %%
assert script.metadata["inputs"] == [{"shape": ["batch", 3], "dtype": "float32"}]
assert script.extra_files == {"classes.txt": "negative\npositive"}
print("stored with it:", sorted(script.metadata), sorted(script.extra_files))

# %% [markdown]
# One more thing is in the archive, and few know it: the `.debug_pkl` records hold **the paths of your source
# files**, for error messages. `torch.jit.save` has no switch for it. Think of it before you publish a file.

# %%
with zipfile.ZipFile(scratch / "described.pt") as archive:
    debug = [archive.read(name) for name in archive.namelist() if name.endswith(".debug_pkl")]
paths = {path for content in debug for path in re.findall(rb"[\w./-]*traps\.py", content)}
print(
    "source files it names:", *(Path(path.decode()).name for path in paths), "(with the whole path)"
)
assert paths and all(path.startswith(b"/") for path in paths)

# %% [markdown]
# ### freeze
#
# `torch.jit.freeze` makes constants of all weights and inlines the modules, so that later passes can fold
# them. The result has no parameters left: it is for running, not for training or saving a `state_dict`.

# %%
torch.manual_seed(0)
scripted = torch.jit.script(DigitsCNN().eval())
frozen = torch.jit.freeze(scripted)
print(
    "parameters before:",
    len(list(scripted.parameters())),
    " after:",
    len(list(frozen.parameters())),
)
print(
    f"largest difference of an output: below 1e-5, where outputs go up to {scripted(example).abs().max():.1f}"
)
assert torch.allclose(frozen(example), scripted(example), atol=1e-5)

# %% [markdown]
# **Try it:** `frozen.state_dict()`. How would you rescue the weights from a frozen file?

# %% [markdown]
# ## 5. From C++
#
# Here is the whole program. It loads the module with `torch::jit::load` and runs it on a batch. `command.h`, beside
# it, reads the batch that Python saved and writes the output so that Python can read it.

# %%
from course_utils.portable import cpp_runner

code = (cpp_runner.CPP / "run_module.cpp").read_text()
lesson.Code(code[code.index("#include") :], "run_module.cpp", cpp=True)

# %% [markdown]
# In the smallest form it is one line, for a file `model.pt`: `torch::jit::load("model.pt")`.
#
# libtorch, with its headers, is inside the Python package you already have. This is the line that compiles it.
# `TORCH` stands for the folder that `python -c "import torch; print(torch.__path__[0])"` prints:
#
# ```sh
# g++ -std=c++20 -O1 -D_GLIBCXX_USE_CXX11_ABI=1 \
#     -isystem TORCH/include -isystem TORCH/include/torch/csrc/api/include run_module.cpp \
#     -L TORCH/lib -Wl,-rpath,TORCH/lib -Wl,--no-as-needed -ltorch -ltorch_cpu -lc10 -o run_module
# ```
#
# `-isystem` finds the headers, `-L` the libraries when linking, `-rpath` the same when running. `--no-as-needed`
# keeps libraries that register operators and are otherwise not called by name (not on macOS). The ABI flag
# must be that of the wheel: `torch._C._GLIBCXX_USE_CXX11_ABI`.
#
# `build_runner` runs this line, and keeps the program for the next time.

# %% tags=["nbval-ignore-output"]
try:
    program = cpp_runner.build_runner(Path("scratch") / "cpp")
    print("built", program.name, "with", cpp_runner.find_compiler())
except cpp_runner.NoCompilerError as problem:
    program = None
    print("Skipped: running the model from C++.", problem)

# %%
export_script(model, example, scratch / "digits.pt")
batch = torch.rand(16, 1, 8, 8)
with torch.no_grad():
    from_python = model(batch)
if program is not None:
    from_cpp = cpp_runner.run_in_cpp(program, scratch / "digits.pt", batch, scratch)
    assert torch.equal(from_cpp, from_python)

# %% tags=["nbval-ignore-output"] jupyter={"source_hidden": true}
if program is not None:
    fig, axis = plots.figure(5, 3.4)
    axis.scatter(from_python.flatten(), from_cpp.flatten(), s=12)
    limits = [from_python.min().item(), from_python.max().item()]
    axis.plot(limits, limits, color=plots.GREY, lw=0.8, zorder=0)
    axis.set(xlabel="output in Python", ylabel="output in C++")
    plots.show(
        fig,
        alt="160 points, the outputs for 16 images of 10 classes, all exactly on the diagonal.",
        caption="Each output of the model, in Python and in C++: all on the diagonal.",
    )
    print(
        "largest difference:",
        (from_python - from_cpp).abs().max().item(),
        "over",
        from_cpp.numel(),
        "outputs",
    )

# %% [markdown]
# Why bit for bit? Both programs use the same library, on the same processor, with one thread each. Another
# number of threads splits sums differently, and the last bits change.
#
# Errors come across, too. The program says what it lacks:

# %% tags=["nbval-ignore-output"]
if program is not None:
    with lesson.expect_error(RuntimeError, match="the C\\+\\+ program failed"):
        cpp_runner.run_in_cpp(program, scratch / "digits.pt", torch.rand(4, 5), scratch)
else:
    print("Skipped, as there is no program.")

# %% [markdown]
# The same with CMake. It does not use `find_package(Torch)`, which asks for a CUDA toolkit when the wheel was built
# for CUDA.

# %%
cmake = (cpp_runner.CPP / "CMakeLists.txt").read_text()
lesson.Code(cmake[cmake.index("cmake_minimum") :], "CMakeLists.txt", cpp=True)

# %% [markdown]
# On **another machine** the program needs the libraries it was linked with: `libtorch.so`, `libtorch_cpu.so`,
# `libc10.so` and those they load in turn (`ldd run_module` lists them), of the same release, found through
# `-rpath` or `LD_LIBRARY_PATH`. <https://pytorch.org> offers them as a zip, libtorch, without Python.
#
# **Try it:** send the C++ program a batch of 8 × 9 images. Does it fail, and does Python?

# %% [markdown]
# ## 6. Where TorchScript stands
#
# - It is **deprecated**: every call warns (`DeprecationWarning` in 2.13, `FutureWarning` from 2.14 on). Filter by message, as the first cell of this
#   lesson does, and not by category, or you silence warnings that matter.
# - It is **not supported on Python 3.14** and later. Files made earlier still load in C++.
# - A TorchScript file is **a program**, and loading one from a stranger runs it. There is no `import os` in this language, but
#   some operators open files, and `__setstate__` runs while the file is loaded. A harmless one:

# %%
lesson.show_source(traps.WritesWhenLoaded.__setstate__)
marker = scratch / "was here"
torch.jit.script(traps.WritesWhenLoaded(str(marker))).save(scratch / "writes.pt")
(code,) = inspect_script(scratch / "writes.pt").code.values()
print("in its code:", *(line.strip() for line in code.splitlines() if "from_file" in line))
print("files it made when inspected:           ", [path.name for path in scratch.glob("was*")])
assert not marker.exists()

torch.jit.load(scratch / "writes.pt")
print("files it made when torch.jit.load ran it:", [path.name for path in scratch.glob("was*")])
assert marker.exists()
marker.unlink()

# %% [markdown]
# So load scripts of people you trust, and use safetensors for those of others (lesson 06). `torch.load` and our
# `load_checkpoint` refuse such files:

# %%
with (
    lesson.expect_error(RuntimeError, match="with TorchScript archives"),
    warnings.catch_warnings(),
):
    warnings.simplefilter("ignore")
    torch.load(scratch / "digits.pt")

# %%
from course_utils.checkpoint import load_checkpoint
from course_utils.errors import UnsupportedCheckpointError

with lesson.expect_error(UnsupportedCheckpointError, match="TorchScript"):
    load_checkpoint(scratch / "digits.pt")

# %% [markdown]
# **Try it:** `ckpt audit` on `writes.pt` and on `digits.pt`. Do the verdicts differ?

# %% [markdown]
# ## In short
#
# | you want | do |
# |---|---|
# | a model without Python control flow | trace, on an example, and check on **other** inputs |
# | branches or loops that depend on data | script, or rewrite with `torch.where` and whole-batch operations |
# | the right mode | `eval()` before the export |
# | tensors that follow the device | buffers |
# | to know what a file does | `inspect_script`: the code is in it |
# | C++ | `torch::jit::load`, and a comparison bit for bit |
# | something new today | `torch.export`: lesson 09 |
#
# **Your turn:** [the exercises of this lesson](exercises/05_torchscript.ipynb).
#
# Further reading: [TorchScript](https://docs.pytorch.org/docs/stable/jit.html) (deprecated since 2.10);
# [loading a TorchScript model in C++](https://docs.pytorch.org/tutorials/advanced/cpp_export.html);
# [torch.export](https://docs.pytorch.org/docs/stable/export.html).

# %%
lesson.finish(scratch)
