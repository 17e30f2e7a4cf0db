"""Load what is not laid out as ``torch.save`` does today.

Files without checksums: safetensors files, and those from before PyTorch 1.6; and archives that
another program has compressed.
"""

import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor

from course_utils.anatomy.archive import read_tensors
from course_utils.anatomy.read import dtype_of
from course_utils.checkpoint.torch_versions import is_meta, load_public, refuse_unless_plain
from course_utils.errors import DamagedRecordError, UnsupportedCheckpointError
from course_utils.files.contents import verify_contents
from course_utils.files.notices import say_once
from course_utils.files.open_file import OpenFile
from course_utils.formats.contents import LEGACY, SAFETENSORS, Contents
from course_utils.formats.dtypes import STORAGES
from course_utils.formats.open import open_contents, require_tensors
from course_utils.formats.tensors import NESTED


def load_unverifiable(file: OpenFile, map_location: Any, *, mmap: bool) -> Any:
    """Load a file that is no archive, its structure checked; warn once that its bytes are not.

    Args:
        file: the open file.
        map_location: as for ``torch.load``.
        mmap: is refused.

    Returns:
        Of a safetensors file a dict from names to tensors.

    Raises:
        CheckpointError: it is something else, or cannot be read.
    """
    contents = require_tensors(open_contents(file, file.path))
    load = _LOADERS.get(contents.kind)
    if load is None:
        raise UnsupportedCheckpointError(
            f"{file.path} is a {contents.kind}, which torch loads only by running it. "
            f"{convert_first(contents)}"
        )
    if mmap:
        raise UnsupportedCheckpointError(
            f"{file.path} is a {contents.kind}, which is not mapped. Load it without mmap=True, or "
            "convert it to a .pt file with `ckpt convert`."
        )
    state = load(file, contents, map_location)
    say_unverifiable(contents.path)
    return state


class CompressedError(UnsupportedCheckpointError):
    """A record of an archive is compressed."""


def load_compressed(file: OpenFile, map_location: Any, *, mmap: bool) -> Any:
    """Load an archive that another program packed anew, its checksums verified.

    Raises:
        DamagedRecordError: a record does not match its checksum.
        UnsupportedCheckpointError: it is to be mapped.
    """
    if mmap:
        raise UnsupportedCheckpointError(
            f"{file.path}: its records are compressed, so it cannot be mapped. Load it without "
            "mmap=True."
        )
    contents = open_contents(file, file.path)
    for finding in verify_contents(contents).damage:
        raise DamagedRecordError(finding.record, finding.problem)
    refuse_unturned(contents)
    refuse_unless_plain(file)
    return load_public(file, map_location, mmap=False)


def refuse_unturned(contents: Contents) -> None:
    """Refuse what torch misreads on a machine of another byte order than the file's.

    It turns the bytes of a storage round by the storage's dtype, and newer dtypes have none.
    """
    if contents.byteorder == sys.byteorder:
        return
    for info in contents.tensors.values():
        if info.itemsize > 1 and info.dtype not in STORAGES.values():
            raise UnsupportedCheckpointError(
                f"{contents.path}: tensor {info.name} is {info.dtype} of a {contents.byteorder}-"
                "endian machine, which torch misreads here. Load what "
                f"`ckpt convert {contents.path.name} NEW.safetensors` writes."
            )


def say_unverifiable(path: Path, skipped: int | None = None) -> None:
    """Warn, once a file, that nothing can tell whether its bytes have changed.

    Args:
        path: the file.
        skipped: how many of its storages have no checksum; None if nothing in it has one.
    """
    reason = "it has no checksums, so nothing can tell whether its bytes have changed."
    if skipped:
        reason = (
            f"{skipped:,} of its storages have no checksum, as torch.save leaves them under "
            "skip_data: nothing can tell whether their numbers were ever written."
        )
    say_once(
        path,
        f"loaded, but not verified: {reason} Save it again with save_checkpoint.",
        stacklevel=5,
    )


def convert_first(contents: Contents) -> str:
    """Return the way out for a file that torch's safe loader does not read and our reader does."""
    return f"Write it anew with `ckpt convert {contents.path.name} NEW.pt` and load that."


def _load_legacy(file: OpenFile, contents: Contents, map_location: Any) -> Any:
    refuse_unless_plain(file)
    for other in contents.others.values():
        if other.kind == NESTED:  # torch rebuilds it before it has read its sizes
            raise UnsupportedCheckpointError(
                f"{file.path}: {other.name} is a nested tensor, which torch misreads in a file "
                f"from before 1.6. {convert_first(contents)}"
            )
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Detected pickle protocol")
            return load_public(file, map_location, mmap=False)
    except (UnpicklingError, OSError):
        raise
    except (LookupError, TypeError, AttributeError, AssertionError, EOFError, ValueError) as error:
        # Its structure was checked: what torch cannot do with it is no damage.
        raise UnsupportedCheckpointError(
            f"{file.path}: torch {torch.__version__} cannot load it ({error}). "
            f"{convert_first(contents)}"
        ) from error


def _load_safetensors(_: OpenFile, contents: Contents, map_location: Any) -> dict[str, Tensor]:
    for other in contents.others.values():
        raise UnsupportedCheckpointError(f"{contents.path}: {other.name}: {other.reason}.")
    if is_meta(map_location):
        return {
            name: torch.empty(info.shape, dtype=dtype_of(info), device="meta")
            for name, info in contents.tensors.items()
        }
    tensors = read_tensors(contents, contents.tensors)
    if map_location is None:
        return tensors
    return {name: _placed(tensor, map_location) for name, tensor in tensors.items()}


def _placed(tensor: Tensor, place: Callable[[Any, str], Any]) -> Tensor:
    """Let a ``map_location`` decide on a storage, as torch does."""
    storage = place(tensor.untyped_storage(), "cpu")
    empty = torch.empty(0, dtype=tensor.dtype, device=storage.device)
    return empty.set_(storage, 0, tensor.shape, tensor.stride())


_LOADERS: dict[str, Callable[[OpenFile, Contents, Any], Any]] = {
    LEGACY: _load_legacy,
    SAFETENSORS: _load_safetensors,
}
