"""Describes a folder of safetensors files that each process wrote for itself, not yet joined.

``torch.distributed.checkpoint.HuggingFaceStorageWriter(save_distributed=True)`` leaves it so, until
``consolidate_safetensors_files`` has joined them. The files say where their blocks begin, and not
how large the whole is, so a missing last block cannot be seen.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from course_utils.errors import DamagedCheckpointError
from course_utils.formats.block_offsets import offsets_of
from course_utils.formats.contents import Contents
from course_utils.formats.dtypes import ITEMSIZE
from course_utils.formats.folder_kinds import PIECES
from course_utils.formats.folder_parts import Parts
from course_utils.formats.joined import Assembled, Piece
from course_utils.formats.open import open_contents, require_tensors
from course_utils.formats.source import Source, Window

if TYPE_CHECKING:
    from course_utils.formats.folders import Folder


def open_pieces(folder: "Folder", names: Sequence[str]) -> Contents:
    """Join the blocks in the files of these names.

    Raises:
        DamagedCheckpointError: blocks are missing or overlap, or their dtypes differ.
    """
    parts = Parts(folder.path, PIECES)
    blocks: dict[str, list[Piece]] = {}
    dtypes: dict[str, str] = {}
    for file in names:
        contents = require_tensors(open_contents(folder.open(file), folder.path / file))
        parts.files.append(contents)
        offsets = offsets_of(contents.tree)
        for name, record in contents.records.items():
            info = contents.tensors.get(name) or contents.others[name]
            assert info.dtype
            assert info.shape is not None
            if dtypes.setdefault(name, info.dtype) != info.dtype:
                raise _damaged(
                    folder, name, f"is {dtypes[name]} in one file, {info.dtype} in {file}"
                )
            start = offsets.get(name, (0,) * len(info.shape))
            elements = Window(contents.source, record.offset, record.size)
            blocks.setdefault(name, []).append(Piece(start, info.shape, elements))
            parts.spent += 16 + len(name)
    tree: dict[str, Any] = {}
    for name, pieces in blocks.items():
        try:
            shape, source = _joined(pieces, ITEMSIZE[dtypes[name]])
        except ValueError as error:
            raise _damaged(folder, name, str(error)) from None
        tree[name] = parts.tensor(dtypes[name], shape, source, ())
    return parts.described(tree, ())


def _joined(pieces: list[Piece], itemsize: int) -> tuple[tuple[int, ...], Source]:
    ends = [[o + n for o, n in zip(p.offsets, p.shape, strict=True)] for p in pieces]
    shape = tuple(max(along) for along in zip(*ends, strict=True))
    whole = len(pieces) == 1 and pieces[0].shape == shape
    return shape, pieces[0].elements if whole else Assembled(shape, itemsize, pieces)


def _damaged(folder: "Folder", name: str, problem: str) -> DamagedCheckpointError:
    return DamagedCheckpointError(f"{folder.path}: {name}: {problem}. Copy or save it again.")
