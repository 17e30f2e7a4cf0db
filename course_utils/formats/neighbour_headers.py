"""Headers of other formats, read without their libraries: what is in them, by name and shape."""

import ast
import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

from course_utils.formats.source import Source

MOST = 100_000  # tensors, or entries of metadata, that are read
LONGEST = 1 << 16  # bytes of a name, or of NumPy's header


class UnreadableHeaderError(ValueError):
    """The header makes no sense, or is of an unknown version."""


class Header(NamedTuple):
    """What a header says.

    Attributes:
        facts: by their names.
        tensors: name, shape and type of each, as the format calls it.
    """

    facts: dict[str, str]
    tensors: list[tuple[str, tuple[int, ...], str]]


def read_gguf(source: Source) -> Header:
    """Read the header of a GGUF file.

    https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
    """
    cursor = _Cursor(source, 4)
    version = cursor.number("<I")
    if version not in (2, 3):
        raise UnreadableHeaderError(f"version {version}")
    count, entries = cursor.number("<Q"), cursor.number("<Q")
    if count > MOST or entries > MOST:
        raise UnreadableHeaderError(f"{count:,} tensors and {entries:,} entries")
    facts = {"version": str(version)}
    for _ in range(entries):
        key = cursor.text()
        value = cursor.value(cursor.number("<I"))
        if key.startswith("general.") and isinstance(value, str | int | float):
            facts[key] = str(value)
    tensors = []
    for _ in range(count):
        name, dimensions = cursor.text(), cursor.number("<I")
        if dimensions > 8:
            raise UnreadableHeaderError(f"{dimensions} dimensions")
        shape = tuple(cursor.number("<Q") for _ in range(dimensions))[::-1]  # innermost first
        kind = cursor.number("<I")
        cursor.number("<Q")
        tensors.append((name, shape, _GGML.get(kind, f"type {kind}")))
    return Header(facts, tensors)


def read_npy(source: Source) -> Header:
    """Read the header of a NumPy array."""
    return Header({}, [("", *numpy_header(source))])


def numpy_header(source: Source) -> tuple[tuple[int, ...], str]:
    """Return shape and dtype of an array.

    https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
    """
    start = source.read_at(0, 12)
    if not start.startswith(b"\x93NUMPY") or len(start) < 12:
        raise UnreadableHeaderError("it is no NumPy array")
    wide = start[6] > 1
    length = int.from_bytes(start[8 : 12 if wide else 10], "little")
    if length > LONGEST:
        raise UnreadableHeaderError(f"a header of {length:,} bytes")
    text = source.read_at(12 if wide else 10, length).decode("utf-8" if start[6] > 2 else "latin1")
    try:
        fields = ast.literal_eval(text.strip())
        shape, dtype = tuple(map(int, fields["shape"])), str(fields["descr"])
    except (ValueError, SyntaxError, KeyError, TypeError, MemoryError, RecursionError) as error:
        raise UnreadableHeaderError(str(error)) from None
    order = ", Fortran order" if fields.get("fortran_order") else ""
    return shape, f"{dtype}{order}"


def is_onnx(source: Source) -> bool:
    """Whether a file is a message with the fields of ONNX's ModelProto, a graph among them."""
    found = _top_fields(source)
    return found is not None and found <= _MODEL and {(1, 0), (7, 2), (8, 2)} <= found


def is_saved_model(source: Source) -> bool:
    """Whether a file is a message with the fields of TensorFlow's SavedModel."""
    return source.read_at(0, 3) == b"\x08\x01\x12" and _top_fields(source) == {(1, 0), (2, 2)}


def read_onnx(source: Source) -> Header:
    """Read the initializers of an ONNX model.

    https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
    """
    facts: dict[str, str] = {}
    tensors: list[tuple[str, tuple[int, ...], str]] = []
    outside: set[str] = set()
    for number, _, value in _fields(source, 0, source.size):
        if number == 1:
            facts["ir_version"] = str(value)
        elif number == 2:
            facts["producer"] = _text(source, value)
        elif number == 7:
            for inner, _, place in _fields(source, *value):
                if inner == 5:
                    tensors.append(_initializer(source, place, outside))
                    if len(tensors) > MOST:
                        raise UnreadableHeaderError("too many initializers")
    if outside:
        facts["external data"] = ", ".join(sorted(outside)[:5])
    return Header(facts, tensors)


def _initializer(
    source: Source, place: tuple[int, int], outside: set[str]
) -> tuple[str, tuple[int, ...], str]:
    shape: list[int] = []
    name, kind = "", 0
    for number, wire, value in _fields(source, *place):
        if number == 1:
            shape += [value] if wire == 0 else _packed(source, value)
        elif number == 2:
            kind = value
        elif number == 8:
            name = _text(source, value)
        elif number == 13:
            entry = {n: _text(source, v) for n, _, v in _fields(source, *value) if n in (1, 2)}
            if entry.get(1) == "location":
                outside.add(entry.get(2, ""))
    return name, tuple(shape), _ONNX.get(kind, f"type {kind}")


def _top_fields(source: Source) -> set[tuple[int, int]] | None:
    try:
        return {(number, wire) for number, wire, _ in _fields(source, 0, source.size)}
    except UnreadableHeaderError:
        return None


def _fields(source: Source, start: int, stop: int) -> Iterator[tuple[int, int, Any]]:
    """Yield number, wire type and value of a message's fields; of long ones only their place.

    https://protobuf.dev/programming-guides/encoding/
    """
    if stop > source.size:
        raise UnreadableHeaderError("a message is cut off")
    while start < stop:
        tag, start = _varint(source, start)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, start = _varint(source, start)
            yield number, wire, value
        elif wire == 2:
            length, start = _varint(source, start)
            if start + length > stop:
                raise UnreadableHeaderError("a field is cut off")
            yield number, wire, (start, start + length)
            start += length
        elif wire in (1, 5):
            start += 8 if wire == 1 else 4
            yield number, wire, None
        else:
            raise UnreadableHeaderError(f"wire type {wire}")
        if not number or start > stop:
            raise UnreadableHeaderError("it is no message")


def _varint(source: Source, start: int) -> tuple[int, int]:
    data = source.read_at(start, 10)
    value = 0
    for place, byte in enumerate(data):
        value |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return value, start + place + 1
    raise UnreadableHeaderError("a number is cut off")


def _packed(source: Source, place: tuple[int, int]) -> list[int]:
    start, stop = place
    values: list[int] = []
    while start < stop and len(values) < 64:
        value, start = _varint(source, start)
        values.append(value)
    return values


def _text(source: Source, place: tuple[int, int]) -> str:
    start, stop = place
    return source.read_at(start, min(stop - start, LONGEST)).decode("utf-8", "replace")


class _Cursor:
    """Reads GGUF's numbers and texts in order."""

    def __init__(self, source: Source, position: int) -> None:
        self._source, self._position = source, position
        self._buffer, self._start = b"", position

    def number(self, layout: str) -> int:
        return int(struct.unpack(layout, self._take(struct.calcsize(layout)))[0])

    def text(self) -> str:
        return self._take(self._length()).decode("utf-8", "replace")

    def value(self, kind: int) -> str | int | float | None:
        """Return a value of metadata; None for a list, which is passed over."""
        if kind == 8:
            return self.text()
        if kind == 9:
            inner, count = self.number("<I"), self.number("<Q")
            if inner in _NUMBERS:
                self._skip(count * struct.calcsize(_NUMBERS[inner]))
                return None
            for _ in range(count):
                if inner == 8:
                    self._skip(self._length())
                else:
                    self.value(inner)
            return None
        if kind not in _NUMBERS:
            raise UnreadableHeaderError(f"a value of type {kind}")
        layout = _NUMBERS[kind]
        found: int | float = struct.unpack(layout, self._take(struct.calcsize(layout)))[0]
        return found

    def _length(self) -> int:
        return self.number("<Q")

    def _take(self, count: int) -> bytes:
        if count > 1 << 24:
            raise UnreadableHeaderError(f"a text of {count:,} bytes")
        offset = self._position - self._start
        if offset + count > len(self._buffer):
            self._buffer = self._source.read_at(self._position, max(count, 1 << 20))
            self._start, offset = self._position, 0
        data = self._buffer[offset : offset + count]
        if len(data) < count:
            raise UnreadableHeaderError("it is cut off")
        self._position += count
        return data

    def _skip(self, count: int) -> None:
        if self._position + count > self._source.size:
            raise UnreadableHeaderError("it is cut off")
        self._position += count
        if self._position > self._start + len(self._buffer):
            self._buffer, self._start = b"", self._position


_NUMBERS = {
    0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q",
    12: "<d",
}  # fmt: skip
_GGML = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 6: "Q5_0", 7: "Q5_1", 8: "Q8_0", 9: "Q8_1",
    10: "Q2_K", 11: "Q3_K", 12: "Q4_K", 13: "Q5_K", 14: "Q6_K", 15: "Q8_K", 16: "IQ2_XXS",
    17: "IQ2_XS", 18: "IQ3_XXS", 19: "IQ1_S", 20: "IQ4_NL", 21: "IQ3_S", 22: "IQ2_S",
    23: "IQ4_XS", 24: "I8", 25: "I16", 26: "I32", 27: "I64", 28: "F64", 29: "IQ1_M", 30: "BF16",
    34: "TQ1_0", 35: "TQ2_0", 39: "MXFP4",
}  # fmt: skip
_ONNX = {
    1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64",
    8: "string", 9: "bool", 10: "float16", 11: "float64", 12: "uint32", 13: "uint64",
    14: "complex64", 15: "complex128", 16: "bfloat16", 17: "float8_e4m3fn", 18: "float8_e4m3fnuz",
    19: "float8_e5m2", 20: "float8_e5m2fnuz", 21: "uint4", 22: "int4", 23: "float4_e2m1",
}  # fmt: skip
_MODEL = {(n, 2) for n in (2, 3, 4, 6, 7, 8, 14, 20, 25, 26)} | {(1, 0), (5, 0)}
