"""Formats that are no checkpoints of PyTorch, and that people point the tools at all the same.

They are known by their content, named with what reads them, and where a header can be read without
a library, so are the tensors in it.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from course_utils.errors import AnotherFormatError, DamagedCheckpointError
from course_utils.formats.contents import Contents
from course_utils.formats.neighbour_headers import (
    Header,
    UnreadableHeaderError,
    is_onnx,
    is_saved_model,
    numpy_header,
    read_gguf,
    read_npy,
    read_onnx,
)
from course_utils.formats.source import Source
from course_utils.formats.zip_kinds import (
    BASELINES,
    KERAS,
    NUMPY,
    PACKAGE,
    TORCHSERVE,
    WHEEL,
    zip_name,
)

START = 4096  # bytes by which a format is known
LARGEST = 64 << 20  # bytes of compressed arrays that are unpacked to see their shapes


class Neighbour(NamedTuple):
    """Another format.

    Attributes:
        kind: its name.
        reader: what reads it.
        header: what its header says, where that can be read here; None where it cannot.
    """

    kind: str
    reader: str
    header: Header | None = None


def another_format(path: Path, neighbour: Neighbour) -> AnotherFormatError:
    """Return the error for a file that is in another format."""
    message = f"is not a checkpoint of PyTorch but {neighbour.kind}. Read it with"
    return AnotherFormatError(f"{path} {message} {neighbour.reader}.", neighbour)


def find_neighbour(source: Source) -> Neighbour | None:
    """Return which other format a file is in, by its content; None if it is not known."""
    start = source.read_at(0, START)
    for is_it, kind, reader, read in _FORMATS:
        if is_it(source, start):
            return Neighbour(kind, reader, _header(read, source))
    return None


def find_neighbour_in_zip(archive: Contents) -> Neighbour | None:
    """Return which other format an archive is, by its records' names; None if not known."""
    what = zip_name(archive.records)
    reader = _READERS_OF_ZIPS.get(what)
    if reader is None:
        return None
    return Neighbour(what, reader, _arrays(archive) if what == NUMPY else None)


_READERS_OF_ZIPS = {
    NUMPY: "numpy.load",
    KERAS: "keras.saving.load_model",
    WHEEL: "pip install",
    TORCHSERVE: "torchserve, or unzip it first",
    BASELINES: "its class's load, or unzip it: policy.pth in it is a checkpoint",
    PACKAGE: "torch.package.PackageImporter, which runs the code in it",
}


def is_paddle(source: Source) -> bool:
    """Whether a pickle is what paddle.save writes of a state_dict."""
    ends = source.read_at(0, 1 << 16) + source.read_at(max(0, source.size - (1 << 16)), 1 << 16)
    return b"StructuredToParameterName@@" in ends


PADDLE = Neighbour("a file of weights of PaddlePaddle (.pdparams)", "paddle.load")


def _header(read: Callable[[Source], Header] | None, source: Source) -> Header | None:
    try:
        return read(source) if read else None
    except UnreadableHeaderError as error:
        return Header({"header": f"not readable here: {error}"}, [])


def _arrays(archive: Contents) -> Header | None:
    records = archive.records.values()
    if sum(record.size for record in records if record.compressed) > LARGEST:
        return None  # unpacked whole for a header of 128 bytes
    try:
        rows = [(r.name[:-4], *numpy_header(archive.content(r))) for r in records]
    except (UnreadableHeaderError, DamagedCheckpointError):
        return None
    return Header({}, rows)


def _read_pte(source: Source) -> Header:
    return Header({"version": source.read_at(4, 4).decode("ascii", "replace")}, [])


def _starts(*magic: bytes) -> Callable[[Source, bytes], bool]:
    return lambda _, start: start.startswith(magic)


def _is_table(source: Source, _: bytes) -> bool:
    """LevelDB's footer, which ends the index of a TensorFlow checkpoint."""
    return source.size >= 48 and source.read_at(source.size - 8, 8) == _TABLE


def _is_xgboost(_: Source, start: bytes) -> bool:
    """Whether it is a model as JSON, or as Universal Binary JSON."""
    return start.startswith(b'{"learner":{') or (start[:2] == b"{L" and start[10:17] == b"learner")


def _is_paddle_inference(_: Source, start: bytes) -> bool:
    """Whether tensors follow each other as PaddlePaddle saves them for inference.

    Before each: a version, levels of detail, a version, all 0; the length of a message, and in it
    the dtype and the sizes. Seen in what ``paddle.jit.save`` of PaddlePaddle 3.3.1 writes.
    """
    length = int.from_bytes(start[16:20], "little")
    message = start[20 : 20 + length]
    return start[:16] == bytes(16) and message[:1] == b"\x08" and message[2:3] in (b"\x10", b"")


def _is_web_page(_: Source, start: bytes) -> bool:
    return start.lstrip()[:14].lower().startswith((b"<!doctype html", b"<html"))


_TABLE = bytes.fromhex("57fb808b247547db")
# A map, its first key, and in it a NumPy array: MessagePack's extension type 1, as Flax writes it.
_FLAX = re.compile(rb"[\x81-\x8f\xde\xdf].*?(\xc7.|\xc8..|\xc9....)\x01\x93", re.DOTALL)
_FORMATS: tuple[
    tuple[
        Callable[[Source, bytes], bool], str, str, Callable[[Source], Header] | None
    ], ...
] = (
    (
        _starts(b"version https://git-lfs.github.com/spec/"),
        "a pointer of Git LFS to a file that was not fetched", "git lfs pull", None,
    ),
    (_is_web_page, "a web page, as a download that failed leaves one", "a browser", None),
    (_starts(b"\x1f\x8b"), "a gzip file", "gunzip", None),
    (_starts(b"\x28\xb5\x2f\xfd"), "a Zstandard file", "zstd -d", None),
    (_starts(b"\xfd7zXZ\0"), "an xz file", "xz -d", None),
    (_starts(b"BZh"), "a bzip2 file", "bunzip2", None),
    (_starts(b"GGUF"), "a GGUF file", "llama.cpp, or gguf.GGUFReader", read_gguf),
    (_starts(b"\x93NUMPY"), "a NumPy array (.npy)", "numpy.load", read_npy),
    (
        _starts(b"\x89HDF\r\n\x1a\n"), "an HDF5 file (Keras .h5, for one)",
        "h5py.File, or keras.saving.load_model", None,
    ),
    (
        lambda _, start: re.match(rb"ET\d\d", start[4:8]) is not None,
        "an ExecuTorch program (.pte)", "executorch.runtime.Runtime", _read_pte,
    ),
    (
        lambda _, start: start[4:8] == b"TFL3", "a TensorFlow Lite model (.tflite)",
        "tf.lite.Interpreter, or ai_edge_litert", None,
    ),
    (
        _is_paddle_inference, "PaddlePaddle's weights for inference (.pdiparams)",
        "paddle.inference, or paddle.jit.load", None,
    ),
    (_is_xgboost, "a model of XGBoost", "xgboost.Booster.load_model", None),
    (_starts(b"CBM1"), "a model of CatBoost (.cbm)", "catboost.CatBoost.load_model", None),
    (_starts(b"tree\nversion="), "a model of LightGBM", "lightgbm.Booster(model_file=…)", None),
    (
        _starts(b"\x84\xa5nodes"), "a model of thinc, as spaCy's pipelines have them",
        "spacy.load of the whole folder", None,
    ),
    (_is_table, "the index of a TensorFlow checkpoint", "tf.train.load_checkpoint", None),
    (
        lambda _, start: start.startswith(b"model_checkpoint_path:"),
        "the list of a folder of TensorFlow checkpoints", "tf.train.latest_checkpoint", None,
    ),
    (
        lambda _, start: _FLAX.match(start) is not None, "a MessagePack file of Flax",
        "flax.serialization.from_bytes", None,
    ),
    (lambda source, _: is_onnx(source), "an ONNX model", "onnx.load, or onnxruntime", read_onnx),
    (
        lambda source, _: is_saved_model(source), "a TensorFlow SavedModel (saved_model.pb)",
        "tf.saved_model.load", None,
    ),
)  # fmt: skip
