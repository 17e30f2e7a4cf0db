"""What cannot be converted to a file of weights, and why."""

from collections.abc import Sequence
from typing import NoReturn

from course_utils.errors import CheckpointError, UnsupportedCheckpointError
from course_utils.files.safetensors_writer import METADATA, NAMES
from course_utils.formats.contents import Contents
from course_utils.safety.selection import Choice, Selection, select

GROWTH = 16  # times the checkpoint's size; beyond, expanded tensors are a bomb


def is_convertible(contents: Contents) -> bool:
    """Whether there are tensors in a file, and all of them fit into a safetensors file."""
    try:
        selection = select(contents, Choice())
        refuse_impossible(contents, selection, None, False)
    except CheckpointError:
        return False
    return bool(selection.tensors)


def refuse_empty(contents: Contents, lost: Sequence[str]) -> NoReturn:
    """Refuse to write a file without tensors, of one that has more to it."""
    raise UnsupportedCheckpointError(
        f"{contents.path}: there is no tensor in it that can be converted. Nothing written; all "
        f"would be left out: {', '.join(lost[:3])}{', …' if lost[3:] else ''}."
    )


def refuse_impossible(
    contents: Contents, selection: Selection, dtype: str | None, to_checkpoint: bool
) -> None:
    """Refuse tensors that the new file cannot hold.

    Raises:
        UnsupportedCheckpointError: names the first, and why.
    """
    for name, info in selection.tensors.items():
        problem = None
        if info.record is None:
            problem = "is on the meta device: it has no values"
        elif info.quantizer is not None:
            problem = f"is quantized ({info.dtype}), which a file of weights does not have"
        elif not to_checkpoint and info.dtype not in NAMES:
            problem = f"is {info.dtype}, which safetensors does not have"
        elif not to_checkpoint and NAMES[info.dtype] == "F4" and not info.shape:
            problem = "is a float4 pair without a dimension, which safetensors does not have"
        elif not to_checkpoint and name == METADATA:
            problem = "has the one name that safetensors keeps for itself; rename it"
        elif not to_checkpoint and not _is_unicode(name):
            problem = "has a name that is no Unicode, which safetensors cannot hold; rename it"
        if problem:
            raise UnsupportedCheckpointError(
                f"{contents.path}: tensor {info.name!r} {problem}. Nothing written; convert it "
                "to another dtype, or exclude it."
            )
    total, size = sum(info.nbytes for info in selection.tensors.values()), contents.source.size
    if total > GROWTH * size:
        raise UnsupportedCheckpointError(
            f"{contents.path}: its tensors repeat elements; written out they would take {total:,} "
            f"bytes instead of {size:,}."
        )


def _is_unicode(name: str) -> bool:
    return name == name.encode(errors="replace").decode()
