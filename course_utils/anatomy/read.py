"""Read one tensor of a file into fresh memory; of all others, not a byte."""

import torch
from torch import Tensor

from course_utils.errors import DamagedCheckpointError, UnsupportedCheckpointError
from course_utils.files.open_file import OpenFile
from course_utils.files.read_back import crc32_of
from course_utils.formats.checksum import crc32, problem_of
from course_utils.formats.contents import Contents
from course_utils.formats.source import Source
from course_utils.formats.tensors import TensorInfo

REMEDY = "Use an earlier checkpoint."


def dtype_of(info: TensorInfo) -> torch.dtype:
    """Return torch's dtype of a name.

    Raises:
        UnsupportedCheckpointError: this torch does not have it.
    """
    found = getattr(torch, info.dtype, None)
    if not isinstance(found, torch.dtype):
        raise UnsupportedCheckpointError(
            f"tensor {info.name} is {info.dtype}, which torch {torch.__version__} does not have."
        )
    return found


def read_tensor(contents: Contents, info: TensorInfo, verify: bool) -> Tensor:
    """Read a tensor onto the CPU, with the file's shape, stride and dtype.

    Raises:
        DamagedCheckpointError: bytes are missing, or do not match their checksum.
        UnsupportedCheckpointError: it is quantized, or of a dtype that this torch lacks.
    """
    if info.quantizer is not None:
        raise UnsupportedCheckpointError(
            f"{contents.path}: tensor {info.name} is quantized ({info.dtype}). Load the file with "
            "torch.load and dequantize it."
        )
    dtype = dtype_of(info)
    if info.record is None:
        return torch.empty_strided(info.shape, info.stride, dtype=dtype, device="meta")
    if not info.span:
        return torch.empty_strided(info.shape, info.stride, dtype=dtype, device="cpu")
    record = contents.records.get(info.record)
    start, span = info.storage_offset * info.itemsize, info.span * info.itemsize
    if record is None or start + span > record.size:
        raise DamagedCheckpointError(
            f"{contents.path}: tensor {info.name} needs bytes {start:,} to {start + span:,} of "
            f"record {info.record}, which does not hold them. {REMEDY}"
        )
    buffer = torch.empty(span, dtype=torch.uint8, device="cpu")
    view = memoryview(buffer.numpy())  # type: ignore[arg-type]
    if record.compressed:
        came = _copy(contents.content(record), start, view)
    else:
        came = _fill(contents.source, record.offset + start, view)
    problem = f"the file ends {span - came:,} bytes too early" if came < span else None
    if verify and span == record.size and not problem:
        _verify_blocks(contents, info)
        problem = problem_of(record, crc32(view)) if contents.checksums else None
    if problem:
        raise DamagedCheckpointError(
            f"{contents.path}: record {record.name} (tensor {info.name}): {problem}. {REMEDY}"
        )
    return _made(buffer, info, dtype, contents.byteorder)


def _verify_blocks(contents: Contents, info: TensorInfo) -> None:
    """Verify what a tensor was put together from."""
    for file, record in contents.blocks.get(info.record or "", ()):
        if problem := problem_of(record, crc32_of(file, record)):
            raise DamagedCheckpointError(
                f"{file.path}: record {record.name} (tensor {info.name}): {problem}. {REMEDY}"
            )


def _fill(source: Source, position: int, view: memoryview) -> int:
    if isinstance(source, OpenFile):
        return source.read_into(view, position)
    return _copy(source, position, view)


def _copy(source: Source, position: int, view: memoryview) -> int:
    data = source.read_at(position, len(view))
    view[: len(data)] = data
    return len(data)


def _made(buffer: Tensor, info: TensorInfo, dtype: torch.dtype, byteorder: str) -> Tensor:
    """Give bytes their dtype, shape, and the bits that stand for an operation."""
    if byteorder == "big":
        part = info.itemsize // 2 if dtype.is_complex else info.itemsize
        buffer = buffer.view(-1, part).flip(1).flatten()
    tensor = buffer.view(dtype).as_strided(info.shape, info.stride)
    tensor = tensor.conj().resolve_conj() if info.conj else tensor
    return tensor.neg() if info.neg else tensor
