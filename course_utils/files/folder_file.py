"""Files of a folder: few are open at a time, and yet they stay the same files."""

import threading
from collections import OrderedDict
from pathlib import Path

from course_utils.errors import UnreadableCheckpointError
from course_utils.files.open_file import OpenFile

MOST = 32  # open of one folder; a process may usually have 1,024 in all


class FolderFile:
    """A file to read from, open only while it, or one of few others, is in use.

    Opened again, it must be the same file as before, and unchanged: what is checked is what is
    used, as with `OpenFile`.

    Args:
        path: of a regular file.
        files: those that are open.

    Raises:
        CheckpointError: as `OpenFile` does.
    """

    def __init__(self, path: Path, files: "FewOpen") -> None:
        self.path = path
        self._files = files
        self._identity: tuple[int, int, int, int] | None = None
        file = files.get(self)
        self.size, self._identity = file.size, file.identity

    def open(self) -> OpenFile:
        """Open it; called by those who keep what is open."""
        file = OpenFile(self.path)
        if self._identity not in (None, file.identity):
            raise UnreadableCheckpointError(
                f"{self.path}: was replaced or changed while its folder was read. Read the folder "
                "again."
            )
        return file

    def read_at(self, position: int, count: int, /) -> bytes:
        """Return bytes, see `formats.source.Source`."""
        return self._files.get(self).read_at(position, count)

    def read_into(self, memory: memoryview, position: int) -> int:
        """Fill memory, as `OpenFile.read_into` does."""
        return self._files.get(self).read_into(memory, position)


class FewOpen:
    """The open ones of many files; the one that was used longest ago is closed for a new one.

    Threads may share it: a file that one of them reads is closed when that has its bytes.
    """

    def __init__(self) -> None:
        self._open: OrderedDict[FolderFile, OpenFile] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, wanted: FolderFile) -> OpenFile:
        """Return an open file, opened if need be."""
        with self._lock:
            file = self._open.pop(wanted, None) or wanted.open()
            self._open[wanted] = file
            if len(self._open) > MOST:
                self._open.popitem(last=False)
        return file
