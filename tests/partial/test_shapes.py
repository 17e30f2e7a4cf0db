"""Each strategy keeps what it promises, and refuses what it cannot."""

import pytest
import torch
from torch.nn.functional import conv2d

from course_utils.partial.shapes import (
    adapt_input_channels,
    grow_embedding,
    interpolate_positions,
    keep_rows,
    match_rows,
)


@pytest.mark.parametrize("shape", [(6, 5), (6,)])
def test_old_rows_stay_and_new_rows_are_the_models(shape):
    source, target = torch.rand(shape), torch.rand(10, *shape[1:])
    before = source.clone(), target.clone()
    result = keep_rows(source, target)
    assert torch.equal(result[:6], source)
    assert torch.equal(result[6:], target[6:])
    assert torch.equal(source, before[0])
    assert torch.equal(target, before[1])


def test_rows_follow_their_names():
    source, target = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([-1.0, -2.0, -3.0, -4.0])
    resize = match_rows(["cat", "dog", "cow"], ["cow", "bee", "cat", "dog"])
    assert resize(source, target).tolist() == [3, -2, 1, 2]
    with pytest.raises(ValueError, match="3 and 4 names for 2 and 4 rows"):
        resize(source[:2], target)


def test_new_embedding_rows_are_the_mean():
    source = torch.tensor([[1.0, 2.0], [3.0, 6.0]])
    result = grow_embedding(source, torch.zeros(4, 2))
    assert result.tolist() == [[1, 2], [3, 6], [2, 4], [2, 4]]


@pytest.mark.parametrize("channels", [1, 2, 4, 6, 9])
def test_equal_channels_give_the_same_response(channels):
    weight = torch.randn(8, 3, 3, 3, dtype=torch.float64)
    grey = torch.rand(2, 1, 7, 7, dtype=torch.float64)
    adapted = adapt_input_channels(weight, torch.empty(8, channels, 3, 3))
    assert adapted.shape == (8, channels, 3, 3)
    expected = conv2d(grey.expand(-1, 3, -1, -1), weight)
    assert torch.allclose(conv2d(grey.expand(-1, channels, -1, -1), adapted), expected)


def test_more_channels_keep_the_known_ones_apart():
    weight = torch.randn(8, 3, 3, 3)
    adapted = adapt_input_channels(weight, torch.empty(8, 4, 3, 3))
    assert torch.allclose(adapted[:, :3], weight * 3 / 4)


@pytest.mark.parametrize("front", [0, 1])
def test_positions_keep_corners_and_class_token(front):
    torch.manual_seed(0)
    source = torch.rand(1, 16 + front, 3)
    result = interpolate_positions(source, torch.empty(1, 64 + front, 3))
    assert result.shape == (1, 64 + front, 3)
    assert torch.equal(result[:, :front], source[:, :front])
    assert torch.equal(interpolate_positions(source, source), source)


def test_positions_of_a_slope_stay_a_slope():
    """The order of the patches is rows then columns: a column index grows along the row."""
    column = torch.arange(8.0).repeat(8).reshape(1, 64, 1)
    result = interpolate_positions(column, torch.empty(1, 256, 1)).reshape(16, 16)
    inner = result[4:-4, 4:-4]
    assert torch.allclose(inner.diff(dim=1), torch.tensor(0.5), atol=1e-5)
    assert torch.allclose(inner.diff(dim=0), torch.tensor(0.0), atol=1e-5)


@pytest.mark.parametrize(
    ("strategy", "source", "target", "message"),
    [
        (keep_rows, (6, 5), (4, 5), "6 rows do not fit into 4"),
        (keep_rows, (6, 5), (8, 4), "more than dimension 0"),
        (grow_embedding, (6, 5), (6, 9), "more than dimension 0"),
        (adapt_input_channels, (8, 3, 3, 3), (8, 1, 5, 5), "more than dimension 1"),
        (adapt_input_channels, (8,), (9,), "more than dimension 1"),
        (interpolate_positions, (1, 16, 8), (1, 60, 8), "no square grids"),
        (interpolate_positions, (1, 16, 8), (1, 64, 9), "more than dimension 1"),
    ],
)
def test_what_cannot_fit_is_refused(strategy, source, target, message):
    with pytest.raises(ValueError, match=message):
        strategy(torch.zeros(source), torch.zeros(target))
