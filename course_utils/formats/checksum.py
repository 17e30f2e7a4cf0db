"""CRC-32, as fast as this Python has it: zlib-ng's where it is installed, else zlib's."""

from course_utils.formats.zip import Record

try:
    from zlib_ng.zlib_ng import crc32
except ImportError:  # in a browser, say
    from zlib import crc32

__all__ = ["crc32", "problem_of"]


def problem_of(record: Record, found: int) -> str | None:
    """Say what is wrong with a record, by the CRC-32 of its bytes; None if nothing is."""
    if record.crc32 in (None, found):
        return None
    if record.crc32 == 0:
        return "it has 0 for a CRC-32: its bytes were never written (skip_data), or have changed"
    return "its bytes have changed, the CRC-32 differs"
