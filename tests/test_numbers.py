"""Every bit pattern of every dtype that NumPy lacks means what torch says it means."""

import numpy as np
import pytest
import torch

from course_utils.formats.dtypes import ITEMSIZE
from course_utils.numbers import compare, decode

BYTES = torch.arange(256, dtype=torch.uint8)
PAIRS = torch.arange(65536, dtype=torch.int32).to(torch.uint16)


@pytest.mark.parametrize("name", sorted(n for n in ITEMSIZE if n.startswith("float8")))
def test_float8(name):
    expected = BYTES.view(getattr(torch, name)).float().double().numpy()
    assert np.array_equal(decode(BYTES.numpy().tobytes(), name), expected, equal_nan=True)
    if name != "float8_e8m0fnu":
        assert np.array_equal(np.signbit(decode(bytes([128]), name)), np.signbit(expected[128:129]))


@pytest.mark.parametrize("name", ["bfloat16", "float16", "int16", "uint16"])
def test_two_bytes(name):
    expected = PAIRS.view(getattr(torch, name)).double().numpy()
    found = decode(PAIRS.numpy().tobytes(), name)
    assert np.array_equal(found.astype(np.float64), expected, equal_nan=True)


def test_float4_against_the_values_of_the_standard():
    low, high = decode(bytes([0x7A]), "float4_e2m1fn_x2")[0]
    assert (low, high) == (-1.0, 6.0)
    positive = [decode(bytes([code]), "float4_e2m1fn_x2")[0, 0] for code in range(8)]
    assert positive == [0, 0.5, 1, 1.5, 2, 3, 4, 6]


def test_complex_and_quantized():
    half = torch.randn(9, dtype=torch.complex64).to(torch.complex32)
    raw = torch.view_as_real(half).numpy().tobytes()
    assert np.array_equal(decode(raw, "complex32"), half.to(torch.complex128).numpy())
    assert decode(b"\x21", "quint4x2").tolist() == [1, 2]
    assert decode(b"\xe4", "quint2x4").tolist() == [0, 1, 2, 3]
    assert decode(b"\xff", "qint8").tolist() == [-1]
    assert decode(b"\xff", "bits8") is None


def raw(values, dtype):
    return torch.tensor(values, dtype=dtype).view(torch.uint8).numpy().tobytes()


@pytest.mark.parametrize(
    ("a", "b", "dtype", "expected"),
    [
        ([1, 2], [1, 2], "float32", (0, None)),
        ([1, 2], [1, 5], "float32", (1, 3.0)),
        ([0.0], [-0.0], "float32", (1, 0.0)),
        ([2**60], [2**60 + 1], "int64", (1, 1.0)),
        ([-(2**63)], [2**63 - 1], "int64", (1, float(2**64 - 1))),
        ([200], [100], "uint8", (1, 100.0)),
        ([-100], [100], "int8", (1, 200.0)),
        ([True], [False], "bool", (1, 1.0)),
        ([1.0], [float("inf")], "bfloat16", (1, float("inf"))),
        ([1.0, 2.0], [float("nan"), 9.0], "float64", (2, pytest.approx(float("nan"), nan_ok=True))),
        ([1j], [2j], "complex64", (1, 1.0)),
    ],
)
def test_how_much_differs(a, b, dtype, expected):
    kind = getattr(torch, dtype)
    assert compare(raw(a, kind), raw(b, kind), dtype, dtype) == expected


def test_two_dtypes_are_compared_by_value():
    one, two = raw([1.0, 2.5], torch.float32), raw([1.0, 2.5], torch.float64)
    assert compare(one, two, "float32", "float64") == (0, None)
    assert compare(one, raw([1, 2], torch.int64), "float32", "int64") == (1, 0.5)
    assert compare(b"\0", b"\1", "bits8", "bits8") == (1, None)
