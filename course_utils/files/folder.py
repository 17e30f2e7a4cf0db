"""Open a folder that is one checkpoint, by its own name or by that of its index."""

import os
from pathlib import Path

from course_utils.errors import NotACheckpointError
from course_utils.files.folder_file import FewOpen, FolderFile
from course_utils.files.open_file import system_error
from course_utils.formats.contents import Contents
from course_utils.formats.folder_kinds import is_index


class OpenFolder:
    """The files of a folder, few of them open at a time; see `formats.folders.Folder`.

    Args:
        path: of the folder.

    Raises:
        CheckpointError: the system does not let it be listed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._files = FewOpen()
        try:
            with os.scandir(path) as entries:
                self.names = sorted(entry.name for entry in entries if not entry.is_dir())
        except OSError as error:
            raise system_error(path, error) from error

    def open(self, name: str, /) -> FolderFile:
        """Open a file that was listed.

        Raises:
            CheckpointError: it cannot be opened.
            NotACheckpointError: the folder has no such file; never one outside of it.
        """
        if name not in self.names:
            raise NotACheckpointError(f"{self.path}: there is no file {name!r} in this folder.")
        return FolderFile(self.path / name, self._files)


def stands_for_folder(path: str | os.PathLike[str]) -> bool:
    """Whether a path is a folder, or a file in one that stands for it."""
    try:
        return os.path.isdir(path) or (is_index(os.path.basename(path)) and os.path.isfile(path))
    except ValueError:  # a NUL byte, which no name can hold
        return False


def open_folder(path: str | os.PathLike[str]) -> Contents:
    """Describe a folder, or the one that an index stands for, as one checkpoint.

    Raises:
        CheckpointError: see `formats.folders.open_folder`.
    """
    from course_utils.formats import folders  # few files need it

    path = Path(path)
    if path.is_dir():
        return folders.open_folder(OpenFolder(path))
    return folders.open_folder(OpenFolder(path.parent), path.name)
