"""CRC-32, as fast as this Python has it: zlib-ng's where it is installed, else zlib's."""

from course_utils.formats.zip import Record

try:
    from zlib_ng.zlib_ng import crc32
except ImportError:  # in a browser, say
    from zlib import crc32

__all__ = ["crc32", "is_unchecked", "problem_of"]


def problem_of(record: Record, found: int) -> str | None:
    """Say what is wrong with a record, by the CRC-32 of its bytes; None if nothing is."""
    if record.crc32 in (None, found) or is_unchecked(record):
        return None
    return "its bytes have changed, the CRC-32 differs"


def is_unchecked(record: Record) -> bool:
    """Whether a storage has no CRC-32, beside others that have: ``skip_data`` saved it so.

    ``torch.serialization.skip_data`` leaves room for the numbers, and 0 in both places of their
    CRC-32; whoever fills them in later leaves that as it is. Of one real CRC-32 in 2^32 we say too
    little.
    """
    return record.crc32 == 0 and record.size > 0 and record.name.startswith("data/")
