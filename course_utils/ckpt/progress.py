"""A progress bar for what takes seconds."""

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from types import TracebackType
from typing import Any, Self

from course_utils.ckpt.output import is_terminal
from course_utils.files.open_file import OpenFile

PATIENCE = 1.0  # seconds without a bar: most files are done by then


@contextmanager
def reading(label: str) -> Iterator[None]:
    """Show how many bytes are read in a block, from all files and as often as they are read."""
    with Progress(label, None) as progress:
        usual, OpenFile.watch = OpenFile.watch, progress
        try:
            yield
        finally:
            OpenFile.watch = usual


class Progress:
    """Shows on a terminal's stderr how many bytes are done, once that takes longer than a second.

    To be called with the bytes done since the last call, by any thread.

    Args:
        label: the file's name.
        total: bytes to do; None where nobody knows.
    """

    def __init__(self, label: str, total: int | None) -> None:
        self._label, self._total = label, total
        self._start, self._lock = monotonic(), threading.Lock()
        self._done, self._bar = 0, None  # type: int, Any
        self._shown = is_terminal(sys.stderr)

    def __call__(self, count: int) -> None:
        """Count bytes as done."""
        if not self._shown:
            return
        with self._lock:
            self._done += count
            if self._bar is not None:
                self._bar.update(count)
            elif monotonic() - self._start > PATIENCE:
                self._bar = self._begin()

    def _begin(self) -> Any:
        from tqdm import tqdm

        from course_utils.tables import printable

        options: dict[str, Any] = {"unit": "B", "unit_scale": True, "leave": False}
        label = printable(os.path.basename(self._label))
        return tqdm(
            desc=label, total=self._total, initial=self._done, dynamic_ncols=True, **options
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()
