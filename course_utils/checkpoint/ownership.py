"""Which files of a shared folder are a manager's own, also while others save there.

A manager holds a lock on the newest file it has saved, and on no other: however many it keeps,
that takes one descriptor. While it saves it holds the folder too. So when nobody else is saving
and no file of others is locked, then no other manager is alive, and what is left of them can be
taken over.
"""

import os
from collections.abc import Collection
from itertools import chain
from pathlib import Path

from course_utils.checkpoint.step_files import StepFile
from course_utils.files.locks import Hold, nobody_holds


class Ownership:
    """The files a manager may remove: those it saved, and those of managers that are gone."""

    def __init__(self) -> None:
        self._places: dict[Path, int] = {}  # in the order of saving; 0 for what was taken over
        self._saves = 0
        self._newest: Hold | None = None
        self._process = os.getpid()

    @property
    def inherited(self) -> bool:
        """Whether this is a forked child's copy: the files belong to its parent."""
        return self._process != os.getpid()

    @property
    def has_saved(self) -> bool:
        """Whether anything was saved yet."""
        return self._saves > 0

    def __contains__(self, path: Path) -> bool:
        return path in self._places

    def saved(self, path: Path) -> None:
        """Note a new file and lock it; the one before is let go only then."""
        self._newest, before = Hold(path), self._newest
        if before:
            before.close()
        self._saves += 1
        self._places[path] = self._saves

    def take_over(self, others: Collection[Path], saving: Hold) -> bool | None:
        """Take over the files of others if all of those are gone.

        Args:
            others: files in the folder that are not ours.
            saving: our lock on the folder.

        Returns:
            Whether they are ours now; None if there are no locks to tell.
        """
        for free in chain([saving.alone()], map(nobody_holds, others)):
            if not free:
                return free
        self._places.update(dict.fromkeys(others, 0))
        return True

    def in_order(self, files: Collection[StepFile]) -> list[StepFile]:
        """Return our files among these: first those taken over, by step, then as we saved them."""
        ours = [file for file in files if file.path in self._places]
        return sorted(ours, key=lambda file: self._places[file.path])
