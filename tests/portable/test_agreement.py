"""Two models agree only if they compute the same on inputs that find frozen branches and sizes."""

import copy

import pytest
import torch
from torch import nn

from course_utils.errors import DisagreementError
from course_utils.portable.agreement import disagreements, eval_mode, probes_like, require_agreement

EXAMPLE = (torch.arange(6.0).reshape(2, 3) + 1,)
PROBES = probes_like(EXAMPLE)


def identity(x):
    return x


@pytest.mark.parametrize(
    ("candidate", "labels"),
    [
        (identity, []),
        (lambda x: x.abs(), ["negative", "random", "batch of 1", "batch of 2", "batch of 5"]),
        (lambda x: x[:2], ["batch of 5"]),
        (lambda x: x.expand(2, 3), ["batch of 1", "batch of 5"]),
        (lambda x: x.double(), ["example", "negative", "zeros", "random", "1", "2", "5"]),
        (lambda x: x * torch.nan, ["example", "negative", "zeros", "random", "1", "2", "5"]),
        (lambda x: x.new_empty(0), ["example", "negative", "zeros", "random", "1", "2", "5"]),
    ],
)
def test_each_probe_that_differs_is_named(candidate, labels):
    found = disagreements(identity, candidate, PROBES)
    assert len(found) == len(labels)
    assert all(label in item.inputs for label, item in zip(labels, found, strict=True))


def test_tolerance_is_the_largest_difference_allowed():
    def candidate(x):
        return x + 0.5

    assert disagreements(identity, candidate, PROBES, tolerance=0.6) == []
    (first, *_) = disagreements(identity, candidate, PROBES, tolerance=0.4)
    assert first.difference == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("expected", "got", "differs"),
    [
        (lambda x: (x, x), lambda x: (x, x), False),
        (lambda x: (x, x), lambda x: (x, x + 1), True),
        (lambda x: (x, x), lambda x: (x,), True),
        (lambda x: {"a": x}, lambda x: {"a": x}, False),
        (lambda x: {"a": x}, lambda x: {"a": -x}, True),
        (lambda x: {"a": x}, lambda x: {"b": x}, True),
        (lambda x: 3, lambda x: 3, False),
        (lambda x: 3, lambda x: 4, True),
        (lambda x: x / 0, lambda x: x / 0, False),  # infinities and NaNs that agree
    ],
)
def test_containers_and_plain_values_are_compared(expected, got, differs):
    assert bool(disagreements(expected, got, PROBES)) == differs


def test_a_probe_that_the_module_refuses_does_not_count():
    def picky(x):
        if x.shape[0] != 2:
            raise ValueError("a batch of two, please")
        return x

    assert disagreements(picky, lambda x: x.expand(2, 3), PROBES) == []


def test_a_candidate_that_fails_disagrees():
    def fails(x):
        raise RuntimeError("no kernel")

    assert "no kernel" in disagreements(identity, fails, PROBES)[0].reason


def test_indices_are_not_replaced_by_random_numbers():
    embedding = nn.Embedding(4, 2)
    probes = probes_like((torch.tensor([[3, 1]]),))
    assert disagreements(embedding, copy.deepcopy(embedding), probes) == []
    assert disagreements(embedding, lambda x: embedding(x) + 1, probes)


def test_the_error_says_where_how_far_and_what_to_do():
    with pytest.raises(DisagreementError, match=r"(?s)The copy.*on zeros \(2, 3\).*1\b.*do this"):
        require_agreement(
            "The copy", identity, lambda x: x + 1, PROBES, tolerance=0, advice="do this"
        )


def test_eval_mode_gives_each_part_its_own_mode_back():
    module = nn.Sequential(nn.Dropout(), nn.BatchNorm1d(2).eval())
    with eval_mode(module):
        assert not any(part.training for part in module.modules())
    assert [part.training for part in module.modules()] == [True, True, False]
