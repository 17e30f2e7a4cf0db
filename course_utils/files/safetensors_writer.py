"""Write a safetensors file from the tensors of another file, a block at a time.

The format: https://huggingface.co/docs/safetensors/main/en/index#format
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from course_utils.files.read_back import equal_bytes, misread, read_back
from course_utils.files.write_new import write_new
from course_utils.formats.contents import Contents
from course_utils.formats.dtypes import ITEMSIZE, SAFETENSORS
from course_utils.formats.elements import blocks, blocks_of
from course_utils.formats.tensors import TensorInfo

NAMES = {dtype: name for name, dtype in SAFETENSORS.items()}
METADATA = "__metadata__"  # the one name that no tensor can have
Elements = Callable[[TensorInfo], Iterator[bytes]]


def write_safetensors(
    out: str | os.PathLike[str],
    source: Contents,
    tensors: Mapping[str, TensorInfo],
    metadata: Mapping[str, str],
    *,
    dtypes: Mapping[str, str] | None = None,
    elements: Elements | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a safetensors file and read it back before it takes its name.

    Args:
        out: the file to create.
        source: where the tensors lie.
        tensors: what to write, by its new name; of dtypes that safetensors has.
        metadata: strings that go into the header.
        dtypes: the dtype in the new file, by name; as in the source where a name is missing.
        elements: yields the bytes of a tensor in its new dtype; by default those of the source.
        overwrite: replace what stands at ``out``; never the source.

    Raises:
        DamagedCheckpointError: what was written reads differently.
        CheckpointWriteError: nothing was written.
    """
    elements = elements or (lambda info: blocks_of(source, info))
    kinds = {name: (dtypes or {}).get(name, info.dtype) for name, info in tensors.items()}
    # The format wants no gaps; largest elements first keeps all of them aligned.
    order = sorted(tensors, key=lambda name: -ITEMSIZE[kinds[name]])
    header = _header({name: (kinds[name], tensors[name].shape) for name in order}, metadata)

    def write(file: BinaryIO) -> None:
        file.write(header)
        for name in order:
            for block in elements(tensors[name]):
                file.write(block)
        written = read_back(file, out)
        if written.tree != dict(metadata) or list(written.tensors) != order:
            raise misread(out, "other names or metadata")
        for name in order:
            info = written.tensors[name]
            same = (info.dtype, info.shape) == (kinds[name], tensors[name].shape)
            if not (same and equal_bytes(blocks(written, name), elements(tensors[name]))):
                raise misread(out, f"tensor {name}")

    return write_new(out, write, sources=[source.path], overwrite=overwrite)


def _header(
    tensors: Mapping[str, tuple[str, tuple[int, ...]]], metadata: Mapping[str, str]
) -> bytes:
    entries: dict[str, Any] = {METADATA: dict(metadata)} if metadata else {}
    position = 0
    for name, (dtype, shape) in tensors.items():
        stop = position + size_of(dtype, shape)
        entries[name] = {
            "dtype": NAMES[dtype], "shape": _shape(dtype, shape), "data_offsets": [position, stop]
        }  # fmt: skip
        position = stop
    text = json.dumps(entries, separators=(",", ":")).encode()
    text = text.ljust((len(text) + 7) // 8 * 8)  # so that the tensors start at a multiple of 8
    return len(text).to_bytes(8, "little") + text


def size_of(dtype: str, shape: tuple[int, ...]) -> int:
    """Return the bytes of a tensor's elements."""
    size = ITEMSIZE[dtype]
    for length in shape:
        size *= length
    return size


def _shape(dtype: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape as safetensors counts: of float4 in elements, not in pairs of them."""
    return (*shape[:-1], 2 * shape[-1]) if NAMES[dtype] == "F4" else shape
