"""The index of a sharded checkpoint, ``.metadata``, as PyTorch's reader wants it.

PyTorch's own unpickles it into the classes of the installed version, and so fails on an index that
another version wrote with one value more. Here it is read without running any of it.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch.distributed.checkpoint import BytesStorageMetadata, Metadata, TensorStorageMetadata
from torch.distributed.checkpoint.metadata import (
    ChunkStorageMetadata,
    MetadataIndex,
    TensorProperties,
)

from course_utils.errors import (
    DamagedCheckpointError,
    UnsafeCheckpointError,
    UnsupportedCheckpointError,
)
from course_utils.formats import dcp_index, folder_kinds

INDEX = folder_kinds.INDEX


@dataclass(frozen=True)
class Place:
    """Where the bytes of one value are; PyTorch's reader looks for these names."""

    relative_path: str
    offset: int
    length: int
    transform_descriptors: None = None


def read_index(path: Path) -> Metadata:
    """Read ``.metadata`` as any version of PyTorch wrote it.

    Raises:
        UnsafeCheckpointError: it names a class or function that DCP does not write.
        UnsupportedCheckpointError: its values are stored in a way that is not known here.
        DamagedCheckpointError: it is no index.
    """
    try:
        return _metadata(dcp_index.read_index(path.read_bytes()))
    except dcp_index.ForeignNamesError as error:
        raise UnsafeCheckpointError(
            f"{path}: {error}; it was not written by DCP, do not load it"
        ) from None
    except dcp_index.UnknownIndexError as error:
        raise UnsupportedCheckpointError(f"{path}: {error}") from None
    except (dcp_index.MalformedIndexError, OSError) as error:
        raise DamagedCheckpointError(
            f"{path}: the index is damaged ({error}); use an older checkpoint"
        ) from None


def _metadata(index: dcp_index.Index) -> Metadata:
    values: dict[str, TensorStorageMetadata | BytesStorageMetadata] = {}
    places = {}
    for name, place in index.objects.items():
        values[name] = BytesStorageMetadata()
        places[MetadataIndex(name)] = Place(*place)
    for name, tensor in index.tensors.items():
        values[name] = _tensor(name, tensor)
        for chunk in tensor.chunks:
            places[MetadataIndex(name, torch.Size(chunk.offsets))] = Place(*chunk.place)
    return Metadata({name: values[name] for name in index.names}, index.keys, places)


def _tensor(name: str, tensor: dcp_index.ShardedTensor) -> TensorStorageMetadata:
    dtype = getattr(torch, tensor.dtype, None)
    if dtype is None:
        raise dcp_index.UnknownIndexError(
            f"{name} is of torch.{tensor.dtype}, which this PyTorch lacks; load it with a newer one"
        )
    chunks = [
        ChunkStorageMetadata(torch.Size(chunk.offsets), torch.Size(chunk.shape))
        for chunk in tensor.chunks
    ]
    return TensorStorageMetadata(TensorProperties(dtype=dtype), torch.Size(tensor.shape), chunks)
