"""Archives one after the other in one file, as ``torch.distributed.checkpoint`` writes its own.

Each value of a ``.distcp`` file is an archive by ``torch.save``; the index says where it begins. To
a reader of zip files such a file looks damaged: its directory is not where it says.
"""

from course_utils.formats.source import Window
from course_utils.formats.zip import read_directory, start_of_last
from course_utils.formats.zip_entries import MalformedZipError

WHAT = (
    "several archives one after the other, as in the .distcp files of a distributed checkpoint, or "
    "where torch.save was called more than once on one open file"
)


def split(file: Window) -> list[Window]:
    """Return the archives of a file that consists of two or more, and nothing else; else none."""
    found, stop = [], file.size
    try:
        while stop:
            start = start_of_last(file.part(0, stop))
            found.append(file.part(start, stop - start))
            read_directory(found[-1])
            stop = start
    except MalformedZipError:
        return []
    return found[::-1] if len(found) > 1 else []
