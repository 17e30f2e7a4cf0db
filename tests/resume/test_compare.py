"""Equal means equal to the last bit."""

import collections

import pytest
import torch

from course_utils.resume.compare import differences

ONE = torch.ones(2)


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        ({"a": ONE}, {"a": ONE.clone()}, []),
        ({"a": {"b": [ONE, 1]}}, {"a": {"b": [ONE, 2]}}, ["a.b.1"]),
        ({"a": ONE}, {"a": ONE + 1e-7}, ["a"]),
        ({"a": ONE}, {"a": ONE.double()}, ["a"]),
        ({"a": ONE}, {"a": ONE.reshape(1, 2)}, ["a"]),
        ({"a": ONE}, {"b": ONE}, ["a", "b"]),
        ({"a": ONE}, {"a": [1.0, 1.0]}, ["a"]),
        ({"a": torch.tensor(0.0)}, {"a": torch.tensor(-0.0)}, ["a"]),
        ({"a": torch.tensor(torch.nan)}, {"a": torch.tensor(torch.nan)}, []),
        ({"a": float("nan")}, {"a": float("nan")}, []),
        ({"a": 0.0}, {"a": -0.0}, ["a"]),
        ({"a": 1}, {"a": 1.0}, ["a"]),
        ({"a": 1}, {"a": True}, ["a"]),
        ({"a": None}, {}, ["a"]),
        ({"a": (1, 2)}, {"a": [1, 2]}, ["a"]),
        ({"a": [1]}, {"a": [1, 2]}, ["a"]),
        (collections.OrderedDict(a=1), {"a": 1}, []),
        ({"a": torch.empty(0)}, {"a": torch.empty(0)}, []),
        (
            {"a": torch.arange(6).reshape(2, 3).T},
            {"a": torch.arange(6).reshape(2, 3).T.clone()},
            [],
        ),
    ],
)
def test_differences(left, right, expected):
    assert differences(left, right) == expected
    assert sorted(differences(right, left)) == sorted(expected)


@pytest.mark.filterwarnings("ignore:Sparse", "ignore:torch.quantize", "ignore:TypedStorage")
@pytest.mark.parametrize(
    "make",
    [
        lambda rows: rows.to_sparse(),
        lambda rows: rows.to_sparse_csr(),
        lambda rows: rows.to_sparse_csc(),
        lambda rows: rows.to_sparse_bsr((1, 1)),
        lambda rows: rows.to_sparse_bsc((1, 1)),
        lambda rows: torch.quantize_per_tensor(rows, 0.1, 0, torch.qint8),
        lambda rows: torch.quantize_per_channel(rows, ONE, torch.zeros(2), 0, torch.qint8),
    ],
)
def test_sparse_and_quantized_tensors(make):
    rows = torch.tensor([[0.0, 1.0], [2.0, 0.0]])
    assert differences(make(rows), make(rows.clone())) == []
    for other in (rows * 2, rows.flip(0)):
        assert differences([make(rows)], [make(other)]) == ["0"]
    assert differences([make(rows)], [rows]) == ["0"]


@pytest.mark.filterwarnings("ignore:torch.quantize", "ignore:TypedStorage")
def test_another_scale_of_the_same_integers():
    one, other = (torch.quantize_per_tensor(ONE * s, s, 0, torch.qint8) for s in (0.5, 0.25))
    assert torch.equal(one.int_repr(), other.int_repr())
    assert differences([one], [other]) == ["0"]
