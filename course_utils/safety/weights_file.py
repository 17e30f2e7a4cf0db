"""Writes a state_dict, as ``torch.save`` would, from tensors of another file; without torch."""

import os
from collections.abc import Callable, Iterator, Mapping

from course_utils.files.checkpoint_writer import SMALL_RECORDS, write_checkpoint
from course_utils.files.read_back import equal_bytes
from course_utils.files.safetensors_writer import size_of
from course_utils.files.zip_writer import Content, Stream
from course_utils.formats.contents import Contents
from course_utils.formats.elements import blocks_of
from course_utils.formats.pickle_nodes import Call, OrderedDictNode
from course_utils.formats.tensor_nodes import tensor_node
from course_utils.formats.tensors import TensorInfo, tensor_at


def write_weights(
    out: str | os.PathLike[str],
    source: Contents,
    tensors: Mapping[str, TensorInfo],
    dtype: Callable[[TensorInfo], str],
    elements: Callable[[TensorInfo], Iterator[bytes]],
    *,
    overwrite: bool,
) -> None:
    """Write an OrderedDict of tensors, each contiguous, on the CPU and without gradient.

    Args:
        out: the file to create; it is read back before it takes its name.
        source: where the tensors lie.
        tensors: by their names. Those that are one and the same stay one tensor.
        dtype: that of a tensor in the new file.
        elements: yields a tensor's bytes in that dtype.
        overwrite: replace what stands at ``out``.

    Raises:
        CheckpointError: the source cannot be read, or what was written reads differently.
        CheckpointWriteError: nothing was written.
    """
    tree, calls = OrderedDictNode(), dict[object, Call]()
    records: dict[str, Content] = dict(SMALL_RECORDS)
    for name, info in tensors.items():
        place = (
            info.record, info.storage_offset, info.shape, info.stride, info.dtype, info.conj,
            info.neg,
        )  # fmt: skip
        if place not in calls:
            key = str(len(calls))
            size = size_of(dtype(info), info.shape)
            calls[place] = tensor_node(key, dtype(info), info.shape, size)
            records[f"data/{key}"] = Stream(size, elements(info))
        tree[name] = calls[place]

    def check(written: Contents) -> str | None:
        for name, info in tensors.items():
            found = tensor_at(name, written.tree[name])
            if not isinstance(found, TensorInfo) or found.dtype != dtype(info):
                return f"tensor {name}"
            if not equal_bytes(blocks_of(written, found), elements(info)):
                return f"tensor {name}"
        return None if list(written.tree) == list(tensors) else "other names"

    write_checkpoint(out, source, tree, records, check, overwrite=overwrite)
