"""What each byte of a file is for."""

from typing import NamedTuple

from course_utils.formats.contents import Contents

PICKLE = "data.pkl"


class Span(NamedTuple):
    """A stretch of the file, from byte ``start`` up to, not including, ``stop``.

    ``kind`` is "tensor", "pickle", "other" (small records), "header" (the zip's own
    bookkeeping) or "padding".
    """

    start: int
    stop: int
    kind: str
    name: str


def byte_map(contents: Contents) -> list[Span]:
    """Return what each byte of the file is for, in order and without gaps."""
    spans: list[Span] = []

    def add(stop: int, kind: str, name: str) -> None:
        start = spans[-1].stop if spans else 0
        if stop > start:
            spans.append(Span(start, stop, kind, name))

    data = {info.record for info in contents.tensors.values()}
    for record in sorted(contents.records.values(), key=lambda record: record.offset):
        kind = "tensor" if record.name in data else "other"
        add(record.padding, "header", record.name)
        add(record.offset, "padding", record.name)
        add(record.offset + record.stored, "pickle" if record.name == PICKLE else kind, record.name)
    add(contents.source.size, "header", "directory")
    return spans
