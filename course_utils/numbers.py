"""Elements as numbers: how many differ between two blocks of bytes, and by how much at most.

NumPy lacks some of torch's dtypes. Bits are decoded here as their standards say: bfloat16 is the
upper half of a float32; float8 as in https://arxiv.org/abs/2209.05433 (``fnuz``: one zero, one NaN,
no infinities); float8_e8m0fnu and float4_e2m1fn as in the OCP Microscaling Formats 1.0.
"""

from typing import Any

import numpy as np

from course_utils.formats.dtypes import ITEMSIZE, PER_BYTE

Array = np.ndarray[Any, np.dtype[Any]]


def compare(a: bytes, b: bytes, first: str, second: str) -> tuple[int, float | None]:
    """Compare two blocks of as many elements, little-endian.

    Elements of one dtype differ if any of their bits do; those of two dtypes, if their values do.

    Args:
        a, b: the blocks.
        first, second: their dtypes.

    Returns:
        How many elements differ, and the largest absolute difference: NaN where a number stands
        against NaN, None where the elements are no numbers or none differ.
    """
    x, y = decode(a, first), decode(b, second)
    if x is None or y is None:  # of two dtypes, nothing can be said of their values
        return (_count(a, b, ITEMSIZE[first]) if first == second else 0), None
    changed = x != y if first != second else _bits(a, first) != _bits(b, second)
    changed = changed.reshape(len(x), -1).any(1)
    if not changed.any():
        return 0, None
    return int(changed.sum()), _distance(x[changed], y[changed])


def decode(data: bytes, dtype: str) -> Array | None:
    """Return elements as numbers, a row for each; None if they are no numbers.

    A row has one number, or two: complex32 of real and imaginary part becomes one complex number,
    but a float4 pair stays a pair. Of quantized elements the codes are returned.
    """
    if dtype in PER_BYTE:
        return _unpacked(data, PER_BYTE[dtype])
    if dtype in _TABLES:
        return _TABLES[dtype][np.frombuffer(data, np.uint8)]
    if dtype == "bfloat16":
        return _bfloat16(data)
    if dtype in ("complex32", "bcomplex32"):
        half = _bfloat16(data) if dtype == "bcomplex32" else np.frombuffer(data, "<f2")
        pairs = half.astype(np.float64).reshape(-1, 2)
        return pairs[:, 0] + 1j * pairs[:, 1]
    name = _NUMPY.get(dtype, dtype)
    if name not in _PLAIN:
        return None
    return np.frombuffer(data, np.dtype(name).newbyteorder("<"))


def encode(values: Array, dtype: str) -> bytes:
    """Return numbers as elements of float64, float32, float16 or bfloat16, rounded to nearest.

    Args:
        values: floats of any kind, as `decode` returns them.
        dtype: of the elements.

    Raises:
        OverflowError: finite numbers are beyond its largest one; says how many.
    """
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        if dtype == "bfloat16":
            data = _to_bfloat16(values.astype(np.float32))
            found = _bfloat16(data)
        else:
            found = values.astype(np.dtype(dtype).newbyteorder("<"))
            data = found.tobytes()
    beyond = int((np.isinf(found) & np.isfinite(values)).sum())
    if beyond:
        raise OverflowError(f"{beyond:,} of its elements are beyond the largest {dtype}")
    return data


def _to_bfloat16(values: Array) -> bytes:
    bits = values.view(np.uint32)
    rounded = bits + 0x7FFF + (bits >> 16 & 1)  # to nearest, ties to even
    rounded = np.where(np.isnan(values), bits | 0x400000, rounded)
    return (rounded >> 16).astype("<u2").tobytes()


def _count(a: bytes, b: bytes, size: int) -> int:
    rows = (np.frombuffer(data, np.uint8).reshape(-1, size) for data in (a, b))
    return int(np.not_equal(*rows).any(1).sum())


def _bits(data: bytes, dtype: str) -> Array:
    if dtype in PER_BYTE:
        return _unpacked(data, PER_BYTE[dtype])
    return np.frombuffer(data, np.uint8).reshape(-1, ITEMSIZE[dtype])


def _unpacked(data: bytes, count: int) -> Array:
    """Return each byte's elements, the lowest bits first."""
    shifts = np.arange(count, dtype=np.uint8) * (8 // count)
    codes = np.frombuffer(data, np.uint8)[:, None] >> shifts & (2 ** (8 // count) - 1)
    return codes.reshape(-1)


def _distance(x: Array, y: Array) -> float:
    """Return the largest absolute difference; NaN wins."""
    if x.dtype == y.dtype and x.dtype.kind in "iub":
        unsigned = np.dtype(f"u{x.dtype.itemsize}")
        # Exact, as a float64 would not be: the difference of two integers wraps to what it is.
        top, bottom = np.maximum(x, y).astype(unsigned), np.minimum(x, y).astype(unsigned)
        return float((top - bottom).max())
    wide = np.complex128 if "c" in x.dtype.kind + y.dtype.kind else np.float64
    with np.errstate(invalid="ignore", over="ignore"):
        return float(np.abs(x.astype(wide) - y.astype(wide)).max())


def _bfloat16(data: bytes) -> Array:
    return (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32)


def _small_float(exponent: int, mantissa: int, bias: int, special: str) -> Array:
    """Return the values of all bytes as floats of a sign, an exponent and a mantissa."""
    codes = np.arange(256)
    power = codes >> mantissa & (2**exponent - 1)
    part = codes & (2**mantissa - 1)
    fraction = np.where(power == 0, part, part + 2**mantissa) * 2.0**-mantissa
    values = np.where(codes < 128, 1.0, -1.0) * fraction * 2.0 ** (np.maximum(power, 1) - bias)
    if special == "fnuz":
        values[128] = np.nan
    elif special == "fn":
        values[codes & 127 == 127] = np.nan
    else:
        top = power == 2**exponent - 1
        values[top] = np.where(part[top] == 0, np.copysign(np.inf, values[top]), np.nan)
    return values


def _float4_pairs() -> Array:
    positive = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6])
    values = np.concatenate([positive, -positive])
    codes = np.arange(256)
    return np.stack([values[codes & 15], values[codes >> 4]], axis=1)


def _powers() -> Array:
    values = 2.0 ** (np.arange(256) - 127)
    values[255] = np.nan
    return values


_TABLES: dict[str, Array] = {
    "float8_e4m3fn": _small_float(4, 3, 7, "fn"),
    "float8_e5m2": _small_float(5, 2, 15, "ieee"),
    "float8_e4m3fnuz": _small_float(4, 3, 8, "fnuz"),
    "float8_e5m2fnuz": _small_float(5, 2, 16, "fnuz"),
    "float8_e8m0fnu": _powers(),
    "float4_e2m1fn_x2": _float4_pairs(),
}
_NUMPY = {"qint8": "int8", "quint8": "uint8", "qint32": "int32", "bool": "uint8"}
_PLAIN = frozenset(
    """float64 float32 float16 complex128 complex64 int64 int32 int16 int8 uint64 uint32 uint16
    uint8""".split()  # noqa: SIM905
)
