"""From a checkpoint to a safetensors file, which can hold only tensors and strings; and back."""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from course_utils.errors import UnsupportedCheckpointError
from course_utils.files.checkpoint_writer import (
    PICKLE,
    all_records,
    write_checkpoint,
)
from course_utils.files.read_back import equal_bytes, open_sound, pieces_of
from course_utils.files.safetensors_writer import write_safetensors
from course_utils.files.write_new import refuse_existing
from course_utils.formats.contents import CHECKPOINT, SAFETENSORS, Contents
from course_utils.formats.dtypes import is_float
from course_utils.formats.elements import blocks_of
from course_utils.formats.tensors import TensorInfo
from course_utils.formats.trees import mismatch
from course_utils.formats.verify import rest_of
from course_utils.safety.left_out import lost_parts, values_of
from course_utils.safety.refusals import refuse_empty, refuse_impossible
from course_utils.safety.selection import Choice, Selection, select
from course_utils.safety.weights_file import write_weights

VALUES = "values"  # the metadata entry with all that is not a tensor, as JSON
FLOATS = ("float64", "float32", "float16", "bfloat16")  # that tensors can be converted to
CHECKPOINT_SUFFIXES = (".pt", ".pth", ".bin", ".ckpt")


@dataclass(frozen=True)
class Conversion:
    """What was written.

    Attributes:
        path: the new file.
        kind: what it is: a checkpoint or a safetensors file.
        tensors: how many tensors are in it.
        shared: from each name that was not written to the name of the same tensor.
        values: paths of what went into the metadata.
        left_out: what the new file cannot hold.
        excluded: names of tensors that were not chosen.
        modules: classes of modules that were pickled whole, by their path; of them only the
            parameters and persistent buffers are in the new file.
        rest: what follows the end of the file that was read, and was not; None for nothing.
    """

    path: Path
    kind: str
    tensors: int
    shared: dict[str, str]
    values: tuple[str, ...]
    left_out: tuple[str, ...]
    excluded: tuple[str, ...] = ()
    modules: tuple[tuple[str, str], ...] = ()
    rest: str | None = None

    def __str__(self) -> str:
        values = f", {len(self.values)} values as metadata" if self.kind == SAFETENSORS else ""
        lines = [f"{self.path.name}: {self.tensors:,} tensors{values}"]
        for path, name in self.modules:
            place = f"{path} is" if path else "it was"
            lines.append(
                f"{place} a pickled module of class {name}: its parameters and buffers were taken"
            )
        lines += [f"{name} is {owner}" for name, owner in self.shared.items()]
        if self.excluded:
            lines.append(f"not chosen: {len(self.excluded)} tensors")
        what = "safetensors" if self.kind == SAFETENSORS else "a file of weights"
        lines += [f"left out, as {what} cannot hold it: {name}" for name in self.left_out]
        if self.rest:
            lines.append(f"not taken: {self.rest}")
        return "\n".join(lines)


def convert(
    path: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    key: str | None = None,
    only: Sequence[str] = (),
    exclude: Sequence[str] = (),
    rename: Sequence[tuple[str, str]] = (),
    dtype: str | None = None,
    overwrite: bool = False,
) -> Conversion:
    """Write a file's tensors to a safetensors file or a checkpoint, without running the file.

    Names become dotted paths (``model.head.weight``). Of tensors that are one and the same the
    first is written, and the metadata say which name stands for which, as
    ``safetensors.torch.save_model`` does. Numbers, strings and lists of them go into the metadata
    entry ``values``, as JSON. A chosen tensor that cannot be written is refused, everything else
    that is left out is listed. The file is read back and compared before it takes its name. One
    block of one tensor is in memory at a time.

    A checkpoint that is converted to a checkpoint, with nothing chosen, is written anew as
    ``torch.save`` writes today: what was pickled with a later protocol becomes loadable, and what
    is from before PyTorch 1.6 gets checksums.

    Args:
        path: a checkpoint or safetensors file; every checksum is verified.
        out: the file to create: a checkpoint if it ends in ``.pt``, ``.pth``, ``.bin`` or
            ``.ckpt``, else a safetensors file. Its tensors are contiguous, on the CPU, and need
            no gradient.
        key: only what stands under this dotted path, for example ``"model"``; it goes from names.
        only: patterns as of a shell, one of which a name must match.
        exclude: patterns that no name may match.
        rename: regular expressions and their replacements, applied to every name in turn.
        dtype: convert floating-point tensors to it, one of `FLOATS`; numbers beyond its range
            are refused.
        overwrite: replace what stands at ``out``; never the file itself.

    Raises:
        MismatchedCheckpointError: nothing was chosen, or two tensors get one name.
        CheckpointError: the file cannot be read, or holds a tensor that cannot be written.
        CheckpointWriteError: nothing was written.
        ValueError: there is no such dtype to convert to.
    """
    if dtype is not None and dtype not in FLOATS:
        raise ValueError(f"{dtype}: not one of {', '.join(FLOATS)}")
    refuse_existing(out, [path], overwrite=overwrite)
    contents = open_sound(path)
    choice = Choice(key, tuple(only), tuple(exclude), tuple(rename))
    to_checkpoint = Path(out).suffix in CHECKPOINT_SUFFIXES
    whole = to_checkpoint and choice == Choice() and dtype is None
    if whole and contents.is_described and contents.kind != SAFETENSORS:
        return replace(_rewrite(contents, out, overwrite), rest=rest_of(contents))
    selection = select(contents, choice)
    refuse_impossible(contents, selection, dtype, to_checkpoint)
    write = _to_checkpoint if to_checkpoint else _to_safetensors
    done = write(contents, out, selection, _Elements(contents, dtype), choice, overwrite)
    return replace(done, rest=rest_of(contents))


class _Elements:
    """Yields the elements of a tensor in the dtype it is converted to."""

    def __init__(self, contents: Contents, dtype: str | None) -> None:
        self._contents, self._dtype = contents, dtype

    def dtype(self, info: TensorInfo) -> str:
        if self._dtype and is_float(info.dtype) and not info.dtype.startswith("float4"):
            return self._dtype
        return info.dtype

    def __call__(self, info: TensorInfo) -> Iterator[bytes]:
        wanted = self.dtype(info)
        if wanted == info.dtype:
            yield from blocks_of(self._contents, info)
            return
        from course_utils.numbers import decode, encode  # with NumPy; unchanged bytes do without

        for block in blocks_of(self._contents, info):
            values = decode(block, info.dtype)
            assert values is not None, "every float has numbers"
            try:
                yield encode(values, wanted)
            except OverflowError as error:
                raise UnsupportedCheckpointError(
                    f"{self._contents.path}: tensor {info.name}: {error}. Nothing written."
                ) from None


def _to_safetensors(
    contents: Contents,
    out: str | os.PathLike[str],
    selection: Selection,
    elements: _Elements,
    choice: Choice,
    overwrite: bool,
) -> Conversion:
    kept, shared = _without_twins(selection.tensors)
    values, left_out = values_of(contents, choice, selection)
    lost = (*left_out, *selection.left_out, *lost_parts(contents, selection))
    if not kept and (selection.left_out or (lost and not values)):
        refuse_empty(contents, lost)
    metadata = {"format": "pt", **shared}
    if values:
        metadata[VALUES] = json.dumps(values)
    dtypes = {name: elements.dtype(info) for name, info in kept.items()}
    write_safetensors(
        out, contents, kept, metadata, dtypes=dtypes, elements=elements, overwrite=overwrite
    )
    modules = tuple(selection.modules.items())
    return Conversion(
        Path(out), SAFETENSORS, len(kept), shared, tuple(values), lost, selection.excluded, modules
    )


def _to_checkpoint(
    contents: Contents,
    out: str | os.PathLike[str],
    selection: Selection,
    elements: _Elements,
    choice: Choice,
    overwrite: bool,
) -> Conversion:
    aliases = {}
    if contents.kind == SAFETENSORS:  # a name may stand for another tensor, in the metadata
        names = {info.name: name for name, info in selection.tensors.items()}
        for alias, owner in contents.tree.items():
            new = choice.name(alias)
            if owner in names and alias not in contents.tensors and new is not None:
                aliases[new] = selection.tensors[names[owner]]
        left_out = [k for k, v in contents.tree.items() if v not in names and k != "format"]
    else:
        values, others = values_of(contents, choice, selection)
        left_out = [*values, *others, *lost_parts(contents, selection)]
    tensors = {**aliases, **selection.tensors}
    lost = (*left_out, *selection.left_out)
    if not tensors and lost:
        refuse_empty(contents, lost)
    write_weights(out, contents, tensors, elements.dtype, elements, overwrite=overwrite)
    modules = tuple(selection.modules.items())
    return Conversion(
        Path(out), CHECKPOINT, len(tensors), {}, (), lost, selection.excluded, modules
    )


def _rewrite(contents: Contents, out: str | os.PathLike[str], overwrite: bool) -> Conversion:
    """Write a checkpoint anew, with all that is in it."""
    copies = {name: record for name, record in contents.records.items() if name != PICKLE}

    def check(written: Contents) -> str | None:
        for name in copies:
            pair = [pieces_of(file, file.records[name]) for file in (contents, written)]
            if not equal_bytes(*pair):
                return f"the bytes of {name}"
        return mismatch(contents.tree, written.tree)

    records = all_records(contents)
    write_checkpoint(out, contents, contents.tree, records, check, overwrite=overwrite)
    return Conversion(Path(out), CHECKPOINT, len(contents.tensors), {}, (), ())


def _without_twins(
    tensors: dict[str, TensorInfo],
) -> tuple[dict[str, TensorInfo], dict[str, str]]:
    """Split tensors into those to write and those that are another one under a second name."""
    first: dict[Any, str] = {}
    kept, shared = {}, {}
    for name, info in tensors.items():
        place: Any = (
            info.record, info.storage_offset, info.shape, info.stride, info.dtype, info.conj,
            info.neg,
        )  # fmt: skip
        owner = first.setdefault(place, name)
        if owner == name or name in ("format", VALUES):  # entries that the metadata have already
            kept[name] = info
        else:
            shared[name] = owner
    return kept, shared
