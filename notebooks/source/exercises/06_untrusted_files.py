# %% [markdown]
# # Exercises: 06 · Files you should not trust
#
# Write your answer in the cell below each task and run it, then run the cell with
# `check`. It says *correct*, *not attempted yet*, or *wrong* with what was tried, what
# was expected and what came. Each new mistake earns one more hint. If you give up,
# `solution("06.1")` in a cell of your own shows the answer.
#
# **Time:** 55 minutes. **Needs:** [the lesson](../06_untrusted_files.ipynb).

# %%
from course_utils.grading import check, solution

# %% [markdown]
# ## 06.1 Plain data, whatever the environment says
#
# *easy, 8 minutes*
#
# Write `load_plain(path)`. It returns what a GPU's checkpoint holds, on the CPU, if that is plain
# data. A file that needs more is a `ValueError`, and none of its code runs, not even where somebody
# has set `TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1` for the whole machine.
#
# A file that does not exist stays a `FileNotFoundError`.

# %%
import torch


def load_plain(path):
    """Return what a checkpoint holds, if it is plain data."""
    return torch.load(path, map_location="cpu")

# %%
check("06.1", load_plain)

# %% [markdown]
# ## 06.2 Name all the damage
#
# *medium, 12 minutes*
#
# Write `damaged_records(path)`: the sorted names of all records of a checkpoint whose bytes do not
# match their checksum, without the archive's own prefix: `["data/0", "data/2"]`. A whole file gives
# `[]`. A file whose directory cannot be read at all gives `["directory"]`.

# %%
import zipfile


def damaged_records(path):
    """Return the names of the records whose bytes have changed."""
    with zipfile.ZipFile(path) as archive:
        first = archive.testzip()
    return [first] if first else []

# %%
check("06.2", damaged_records)

# %% [markdown]
# ## 06.3 One exception, for one load
#
# *medium, 10 minutes*
#
# A friend's checkpoint holds an object of a class you know. Write `load_allowing(path, classes)`:
# it loads the file with these classes allowed besides plain data. Everything else stays refused,
# and after the call, whether it went well or not, the classes are no longer allowed. What others had
# allowed before the call stays allowed.

# %%
import torch


def load_allowing(path, classes):
    """Load a checkpoint with some classes allowed, for this load only."""
    torch.serialization.add_safe_globals(classes)
    return torch.load(path)

# %%
check("06.3", load_allowing)

# %% [markdown]
# ## 06.4 safetensors by hand
#
# *hard, 25 minutes*
#
# Write `write_safetensors(tensors, path)` without the library. The file is
#
# - 8 bytes: the length of the header, an unsigned integer, little-endian;
# - the header: JSON, from each name to `{"dtype": …, "shape": […], "data_offsets": [start, stop]}`;
# - the numbers of all tensors, row by row, without gaps. Offsets count from the end of the header.
#
# The dtypes here are float32 (`"F32"`), float16 (`"F16"`) and int64 (`"I64"`). The library must
# read your file.

# %%
def write_safetensors(tensors, path):
    """Write named tensors as a safetensors file."""
    raise NotImplementedError

# %%
check("06.4", write_safetensors)

# %% [markdown]
# Back to [the lesson](../06_untrusted_files.ipynb).
