"""Sees, and may fail, the system calls that an answer makes: from outside, by the kernel's word.

A seccomp filter hands some calls to a supervisor before they happen; see seccomp_unotify(2). The
process that is watched cannot undo it, nor can its children, however they make the call. Whoever
made the filter gives its listener away, so what runs later cannot answer for the supervisor.
"""

import contextlib
import ctypes
import errno
import fcntl
import os
import platform
import select
import stat
import struct
import sys

# Numbers of the kernel's headers: asm/unistd_64.h, asm-generic/unistd.h, linux/audit.h.
TABLES = {
    "x86_64": (0xC000003E, 317, {
        "fsync": 74, "fdatasync": 75, "sync": 162, "syncfs": 306, "sync_file_range": 277,
        "rename": 82, "renameat": 264, "renameat2": 316, "mkdir": 83, "mkdirat": 258,
        "open": 2, "openat": 257, "io_uring_setup": 425,
    }),
    "aarch64": (0xC00000B7, 277, {
        "fsync": 82, "fdatasync": 83, "sync": 81, "syncfs": 267, "sync_file_range": 84,
        "renameat": 38, "renameat2": 276, "mkdirat": 34, "openat": 56, "io_uring_setup": 425,
    }),
}  # fmt: skip
FLAGS_ARGUMENT = {"open": 1, "openat": 2}  # watched only with O_SYNC or O_DSYNC
PATHS = {"rename": (0, 1), "renameat": (1, 3), "renameat2": (1, 3), "mkdir": (0,), "mkdirat": (1,)}
SYNCING = {"fsync", "fdatasync"}
ALLOW, NOTIFY, KILL, NOT_THERE = 0x7FFF0000, 0x7FC00000, 0x80000000, 0x00050000 | errno.ENOSYS
LOAD, EQUAL, GREATER, ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06  # of classic BPF
NEW_LISTENER, NO_NEW_PRIVS, GET_ACTION = 8, 38, 2
RECEIVE, SEND = 0xC0502100, 0xC0182101  # ioctls of a listener
CONTINUE = 1
PATH_MAX, PAGE = 4096, 4096
NOTIFICATION, ANSWER = struct.Struct("QIIiIQ6Q"), struct.Struct("QqiI")

_libc = ctypes.CDLL(None, use_errno=True)


def can_watch() -> bool:
    """Whether this kernel hands system calls to a supervisor."""
    if sys.platform != "linux" or platform.machine() not in TABLES:
        return False
    _, seccomp, _ = TABLES[platform.machine()]
    return _libc.syscall(seccomp, GET_ACTION, 0, ctypes.byref(ctypes.c_uint32(NOTIFY))) == 0


def install_filter() -> int:
    """Let a supervisor see this process's calls from now on; return the listener's descriptor.

    Raises:
        OSError: the kernel does not allow it.
    """
    _, seccomp, _ = TABLES[platform.machine()]
    code = _program()
    buffer = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(buffer))
    if _libc.prctl(NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
    listener = _libc.syscall(seccomp, 1, NEW_LISTENER, program)
    if listener < 0:
        raise OSError(ctypes.get_errno(), "seccomp")
    return int(listener)


class Listener:
    """The supervisor's end.

    Args:
        fd: from `install_filter`.

    Attributes:
        calls: what was seen, in order: ``"fsync file 5000"`` with the file's bytes so far,
            ``"fsync folder"``, ``"replace"`` or ``"replace from another folder"``,
            ``"mkdir <path>"``, ``"sync"``, ``"open synchronous"``.
        fails: ``"fsync"`` or ``"replace"``: these calls fail from now on.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.calls: list[str] = []
        self.fails = ""

    def serve(self) -> None:
        """Answer all calls that wait; do not wait for any."""
        while select.select([self.fd], [], [], 0)[0]:
            buffer = bytearray(NOTIFICATION.size)
            try:
                fcntl.ioctl(self.fd, RECEIVE, buffer)
            except OSError:  # it was killed meanwhile
                return
            number, pid, _, call, _, _, *arguments = NOTIFICATION.unpack(buffer)
            failure = self._see(pid, _name(call), arguments)
            answer = ANSWER.pack(number, 0, -failure, 0 if failure else CONTINUE)
            with contextlib.suppress(OSError):
                fcntl.ioctl(self.fd, SEND, bytearray(answer))

    def close(self) -> None:
        """Let calls that are still made fail."""
        os.close(self.fd)

    def _see(self, pid: int, name: str, arguments: list[int]) -> int:
        """Note a call; return the error it shall fail with, or 0."""
        if name in SYNCING:
            self.calls.append(_synced(pid, arguments[0]))
            return errno.ENOSPC if self.fails == "fsync" else 0
        if name.startswith("rename"):
            paths = [_text(pid, arguments[i]) for i in PATHS[name]]
            same = len({_folder(pid, path) for path in paths}) == 1
            self.calls.append("replace" if same else "replace from another folder")
            return errno.EIO if self.fails == "replace" else 0
        if name.startswith("mkdir"):
            self.calls.append(f"mkdir {_text(pid, arguments[PATHS[name][0]])}")
        else:
            self.calls.append("open synchronous" if name.startswith("open") else "sync")
        return 0


def _program() -> bytes:
    """The filter: notify of the calls in the table, let others pass, know no other architecture."""
    architecture, _, numbers = TABLES[platform.machine()]
    steps = [(LOAD, 0, 0, 4), (EQUAL, 1, 0, architecture), (RETURN, 0, 0, KILL), (LOAD, 0, 0, 0)]
    steps += [(GREATER, 0, 1, 0x40000000), (RETURN, 0, 0, NOT_THERE)]  # the x32 names of calls
    for name, number in numbers.items():
        if name in FLAGS_ARGUMENT:
            flags = 16 + 8 * FLAGS_ARGUMENT[name]
            steps += [(EQUAL, 0, 4, number), (LOAD, 0, 0, flags), (ANY_BIT, 0, 1, os.O_DSYNC),
                      (RETURN, 0, 0, NOTIFY), (RETURN, 0, 0, ALLOW)]  # fmt: skip
        else:
            action = NOT_THERE if name == "io_uring_setup" else NOTIFY
            steps += [(EQUAL, 0, 1, number), (RETURN, 0, 0, action)]
    steps.append((RETURN, 0, 0, ALLOW))
    return b"".join(struct.pack("HBBI", *step) for step in steps)


def _name(call: int) -> str:
    numbers = TABLES[platform.machine()][2]
    return next(name for name, number in numbers.items() if number == call)


def _synced(pid: int, fd: int) -> str:
    try:
        status = os.stat(f"/proc/{pid}/fd/{fd}")
    except OSError:
        return "fsync of nothing"
    return "fsync folder" if stat.S_ISDIR(status.st_mode) else f"fsync file {status.st_size}"


def _text(pid: int, address: int) -> str:
    """Read a path from the memory of the process that waits."""
    data = b""
    try:
        with open(f"/proc/{pid}/mem", "rb", 0) as memory:
            while b"\0" not in data and len(data) < PATH_MAX:
                memory.seek(address + len(data))
                data += memory.read(PAGE - (address + len(data)) % PAGE)  # the next may not exist
    except (OSError, ValueError, OverflowError):
        return "?"
    return data.split(b"\0")[0].decode("utf-8", "replace")


def _folder(pid: int, path: str) -> str:
    """Return where a path lies, as the process that waits sees it."""
    try:
        here = os.readlink(f"/proc/{pid}/cwd")
    except OSError:
        here = "?"
    return os.path.dirname(os.path.normpath(os.path.join(here, path)))
