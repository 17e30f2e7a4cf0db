"""Many sources as one: what describes a single file then describes a folder as well."""

from bisect import bisect_right
from collections.abc import Sequence
from math import prod
from typing import NamedTuple

from course_utils.formats.source import Source


class Joined:
    """Sources one after the other; a source itself."""

    def __init__(self) -> None:
        self.size = 0
        self._sources: list[Source] = []
        self._starts: list[int] = []

    def add(self, source: Source) -> int:
        """Append a source; return the position of its first byte."""
        start = self.size
        if source.size:
            self._sources.append(source)
            self._starts.append(start)
            self.size += source.size
        return start

    def read_at(self, position: int, count: int, /) -> bytes:
        """Return bytes, see `formats.source.Source`."""
        parts = []
        number = max(0, bisect_right(self._starts, position) - 1)
        while count > 0 and number < len(self._sources):
            source, start = self._sources[number], self._starts[number]
            wanted = min(count, start + source.size - position)
            data = source.read_at(position - start, wanted)
            parts.append(data)
            if len(data) < wanted:
                break
            position, count, number = position + wanted, count - wanted, number + 1
        return b"".join(parts)


class Piece(NamedTuple):
    """A block of a larger tensor: where it begins, its shape, its elements in order."""

    offsets: tuple[int, ...]
    shape: tuple[int, ...]
    elements: Source


class Assembled:
    """A tensor made of pieces, its elements in order; a source.

    Args:
        shape: of the whole.
        itemsize: bytes of one element.
        pieces: blocks of it.

    Raises:
        ValueError: the pieces do not cover it, each element once; says what is wrong.
    """

    def __init__(self, shape: tuple[int, ...], itemsize: int, pieces: Sequence[Piece]) -> None:
        self.size = prod(shape) * itemsize
        _refuse_gaps(shape, pieces)
        self._pieces = [_Runs(shape, itemsize, piece) for piece in pieces]

    def read_at(self, position: int, count: int, /) -> bytes:
        """Return bytes, see `formats.source.Source`; fewer where a piece ends too early."""
        room = bytearray(max(0, min(count, self.size - position)))
        for piece in self._pieces:
            if not piece.copy(position, room):
                return b""
        return bytes(room)


class _Runs:
    """A piece as runs of bytes that lie together in the whole as well."""

    def __init__(self, shape: tuple[int, ...], itemsize: int, piece: Piece) -> None:
        self._elements = piece.elements
        axis = len(shape)  # the first axis from which on a run goes through
        while axis and (axis == len(shape) or piece.shape[axis] == shape[axis]):
            axis -= 1
        self._counts = piece.shape[:axis]
        self.length = prod(piece.shape[axis:]) * itemsize
        self.number = prod(self._counts) if self.length else 0
        steps = [prod(shape[i + 1 :]) * itemsize for i in range(len(shape))]
        self._steps = steps[:axis]
        self._start = sum(o * step for o, step in zip(piece.offsets, steps, strict=True))

    def start(self, number: int) -> int:
        """Return where a run begins in the whole; later runs begin later."""
        place = self._start
        for count, step in zip(reversed(self._counts), reversed(self._steps), strict=True):
            number, index = divmod(number, count)
            place += index * step
        return place

    def copy(self, position: int, room: bytearray) -> bool:
        """Copy what lies in a stretch of the whole; False if bytes are missing."""
        stop = position + len(room)
        first = max(0, bisect_right(range(self.number), position, key=self.start) - 1)
        last = bisect_right(range(self.number), stop - 1, key=self.start)
        if first >= last or not room:
            return True
        begin = first * self.length
        data = self._elements.read_at(begin, (last - first) * self.length)
        if len(data) < (last - first) * self.length:
            return False
        for number in range(first, last):
            start = self.start(number)
            low, high = max(start, position), min(start + self.length, stop)
            if low < high:
                inside = number * self.length - begin + low - start
                room[low - position : high - position] = data[inside : inside + high - low]
        return True


def _refuse_gaps(shape: tuple[int, ...], pieces: Sequence[Piece]) -> None:
    for offsets, sizes, _ in pieces:
        if not len(offsets) == len(sizes) == len(shape) or any(
            o + n > whole for o, n, whole in zip(offsets, sizes, shape, strict=True)
        ):
            raise ValueError(f"the piece at {offsets} of shape {sizes} is no part of {shape}")
    if sum(prod(piece.shape) for piece in pieces) != prod(shape):
        raise ValueError(f"its {len(pieces):,} pieces do not cover {shape} once")
    open_ones: list[Piece] = []  # those that reach as far as the next one along the first axis
    for piece in sorted((p for p in pieces if prod(p.shape)), key=lambda p: p.offsets):
        if shape:
            reached = piece.offsets[0]
            open_ones = [p for p in open_ones if p.offsets[0] + p.shape[0] > reached]
        if any(_overlap(piece, other) for other in open_ones):
            raise ValueError(f"two pieces overlap at {piece.offsets}")
        open_ones.append(piece)


def _overlap(one: Piece, two: Piece) -> bool:
    return all(
        a < b + m and b < a + n
        for a, n, b, m in zip(one.offsets, one.shape, two.offsets, two.shape, strict=True)
    )
