"""Reads the bytes past zipfile's own check and computes each checksum."""

import struct
import zipfile
import zlib


def damaged_records(path):
    data = path.read_bytes()
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except zipfile.BadZipFile:
        return ["directory"]
    damaged = []
    for entry in entries:
        name, extra = struct.unpack_from("<HH", data, entry.header_offset + 26)
        start = entry.header_offset + 30 + name + extra
        if zlib.crc32(data[start : start + entry.file_size]) != entry.CRC:
            damaged.append(entry.filename.partition("/")[2])
    return sorted(damaged)
