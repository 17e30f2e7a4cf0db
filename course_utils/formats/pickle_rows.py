"""Reads files that are rows of pickles: torch's old formats, and any others. See `readings`."""

from collections.abc import Callable
from functools import partial

from course_utils.formats.evidence import Evidence
from course_utils.formats.joblib_arrays import read_with_arrays
from course_utils.formats.judge import Verdict
from course_utils.formats.legacy import Legacy, LegacyError, Seen, is_legacy, read_stream
from course_utils.formats.legacy_tar import MEMBERS, is_checkpoint, members_of, read_tar
from course_utils.formats.pickle import Pickle, begins_pickle, scan_next
from course_utils.formats.pickle_nodes import NotReadError
from course_utils.formats.source import Window

MOST_PICKLES = 100_000  # one after the other in one file
ANOTHER = "is more, which torch.load comes to if it is called again on the open file"


def inspect_legacy(file: Window, where: str, evidence: Evidence) -> bool:
    """Look at a file from before PyTorch 1.6, if it is one, and at what follows its end."""
    if not is_legacy(file.read_at(0, 512)):
        return False
    for number in range(2, MOST_PICKLES):
        stream = file
        if not _read_old(where, evidence, partial(read_stream, stream)):
            return True
        file = stream.part(stream.tell(), stream.size - stream.tell())
        if not file.size:
            return True
        where = where if number > 2 else f"{where}after its end: "
        evidence.add(Verdict.PLAIN_DATA, where.removesuffix(": "), ANOTHER)
        if not is_legacy(file.read_at(0, 512)):
            break
    inspect_pickles(file, where, evidence)
    return True


def inspect_tar(file: Window, where: str, evidence: Evidence) -> bool:
    """Look at a tar file by PyTorch before 0.4, if it is one."""
    members = members_of(file)
    if not is_checkpoint(members):
        return False
    _read_old(where, evidence, lambda seen: read_tar(file, members, seen))
    for member in members:  # a reader that is less strict may come to them all
        if member.name in MEMBERS:
            content = scan_next(file.part(member.offset_data, member.size))
            evidence.judge(
                content._replace(problem=None), f"{where}{member.name}"
            )  # what is wrong was said
    return True


def inspect_pickles(file: Window, where: str, evidence: Evidence, marked: bool = True) -> bool:
    """Look at pickles in a row; of bytes that are no pickle, only at what they would still do.

    Args:
        marked: whether a beginning as of a pickle marks one, damaged though it may be.
    """
    file.seek(0)
    marked = marked and begins_pickle(file.read(2))
    file.seek(0)
    waiting: list[Pickle] = []  # of bytes that may yet turn out to be text: "N." is a pickle
    for number in range(MOST_PICKLES):
        start = file.tell()
        content = read_with_arrays(file, start, scan_next(file))
        ends, at_end = content.problem is None, file.tell() >= file.size
        acts = content.calls or content.changed or content.doubtful
        if not (acts or (ends and (marked or at_end)) or (marked and not number)):
            if ends:
                waiting.append(content)
                continue
            if marked:  # text, or tensors; whoever asks for one more pickle reads it as one
                _mention_rest(file.size - start, content, where, evidence)
            return marked
        marked = True
        for found in (*waiting, content):
            evidence.judge(found, f"{where}pickle")
            if found.persistent:
                evidence.add(
                    Verdict.MALFORMED, f"{where}pickle", "refers to something outside of it"
                )
        waiting.clear()
        if not ends or at_end:
            return True
    unread = f"holds more than {MOST_PICKLES:,} pickles: the rest is not read, and may run code"
    evidence.no_checkpoint(where, unread)
    return True


def _mention_rest(size: int, content: Pickle, where: str, evidence: Evidence) -> None:
    rest = f"{where}after the pickle"
    evidence.add(Verdict.PLAIN_DATA, rest, f"are {size:,} bytes that are no pickle")
    # That it is none was said; what it would import on the way was not.
    evidence.judge(content._replace(problem=None), rest)


def _read_old(where: str, evidence: Evidence, read: Callable[[Seen], Legacy]) -> bool:
    """Judge every pickle that torch would come to, then say where the file stops making sense.

    Returns:
        Whether it makes sense up to its end.
    """
    try:
        read(lambda content, part: evidence.judge(content, f"{where}{part}"))
    except LegacyError as error:
        evidence.add(Verdict.DAMAGED, f"{where}{error.part}", error.problem)
        return False
    except NotReadError as error:
        evidence.add(Verdict.MALFORMED, f"{where}object", str(error))
        return False
    return True
