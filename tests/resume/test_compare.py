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
