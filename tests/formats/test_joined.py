"""Sources end to end, and tensors assembled from blocks."""

import random

import numpy as np
import pytest

from course_utils.formats.joined import Assembled, Joined, Piece
from course_utils.formats.source import Memory


def test_any_stretch_of_joined_sources():
    parts = [b"abc", b"", b"d", b"efgh"]
    joined = Joined()
    assert [joined.add(Memory(part)) for part in parts] == [0, 3, 3, 4]
    whole = b"".join(parts)
    assert joined.size == len(whole)
    for start in range(9):
        for count in range(9):
            assert joined.read_at(start, count) == whole[start : start + count]


def cut(array, rng):
    """Cut an array into blocks along random axes."""
    blocks = [((0,) * array.ndim, array)]
    for _ in range(rng.randrange(6)):
        offsets, block = blocks.pop(rng.randrange(len(blocks)))
        axes = [axis for axis, n in enumerate(block.shape) if n > 1]
        if not axes:
            blocks.append((offsets, block))
            continue
        axis = rng.choice(axes)
        at = rng.randrange(1, block.shape[axis])
        one, two = np.split(block, [at], axis)
        later = tuple(o + at * (i == axis) for i, o in enumerate(offsets))
        blocks += [(offsets, one), (later, two)]
    rng.shuffle(blocks)
    return [Piece(offsets, block.shape, Memory(block.tobytes())) for offsets, block in blocks]


@pytest.mark.parametrize("seed", range(60))
def test_a_tensor_cut_into_blocks_reads_as_the_whole(seed):
    rng = random.Random(seed)
    shape = tuple(rng.randrange(1, 6) for _ in range(rng.randrange(4)))
    array = np.arange(int(np.prod(shape)), dtype="<i4").reshape(shape)
    source = Assembled(shape, 4, cut(array, rng))
    assert source.read_at(0, source.size) == array.tobytes()
    for _ in range(5):
        start, count = rng.randrange(source.size + 2), rng.randrange(source.size + 2)
        assert source.read_at(start, count) == array.tobytes()[start : start + count]


@pytest.mark.parametrize(
    ("pieces", "message"),
    [
        ([((0,), (2,))], "do not cover"),
        ([((0,), (2,)), ((1,), (2,))], "overlap"),
        ([((0,), (2,)), ((3,), (2,))], "no part of"),
        ([((0, 0), (4, 1))], "no part of"),
    ],
)
def test_blocks_that_do_not_make_the_whole(pieces, message):
    blocks = [Piece(offsets, shape, Memory(bytes(64))) for offsets, shape in pieces]
    with pytest.raises(ValueError, match=message):
        Assembled((4,), 1, blocks)


def test_a_block_that_is_cut_off_gives_nothing_false():
    source = Assembled((4,), 1, [Piece((0,), (2,), Memory(b"ab")), Piece((2,), (2,), Memory(b"c"))])
    assert source.read_at(0, 2) == b"ab"
    assert source.read_at(0, 4) == b""
