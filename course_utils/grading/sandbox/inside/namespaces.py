"""A second wall, inside bubblewrap's: each submission gets its own processes, /tmp and limits.

The warm server forks one process for each submission. That process must not reach the server, or
leave anything for the next submission. So it moves into new user, process, mount and IPC
namespaces, gets an empty /tmp and /dev/shm, and gives up every capability it had to do so.
See user_namespaces(7), pid_namespaces(7), capabilities(7).
"""

import ctypes
import os
import resource
import signal

CLONE_NEWNS, CLONE_NEWIPC = 0x00020000, 0x08000000
CLONE_NEWUSER, CLONE_NEWPID = 0x10000000, 0x20000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_BIND = 1, 2, 4, 8, 32, 4096
MS_REC, MS_PRIVATE = 16384, 1 << 18
MADV_HUGEPAGE, MADV_COLLAPSE, LARGE = 14, 25, 2**21
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_CHILD_SUBREAPER = 1, 4, 36
LINUX_CAPABILITY_VERSION_3 = 0x20080522

_libc = ctypes.CDLL(None, use_errno=True)
_holding = ctypes.PyDLL(None, use_errno=True)  # its calls keep Python's own lock


def be_unseen() -> None:
    """Make this process unreadable to others of its user."""
    _check(_libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0))


def be_seen() -> None:
    """Let the supervisor look at this process, and at those that it will start."""
    _check(_libc.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0))


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent ends, so that none gets lost."""
    _check(_libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))


def fork() -> int:
    """Fork a process of one thread; return the child's id, and 0 in the child.

    What `os.fork` does besides is for threads that are gone and for locks that they held. Here are
    none, and it would touch, and so copy, hundreds of pages of memory each time.

    Raises:
        OSError: the kernel does not allow it.
    """
    child = int(_holding.fork())
    if child < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return child


def enter(tmp_bytes: int) -> None:
    """Continue in a new process, walled off; the calling one ends when it does.

    Args:
        tmp_bytes: the room in the new /tmp, which becomes the working directory.

    Raises:
        OSError: the kernel does not allow it.
    """
    _check(_libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0))
    user, group = os.getuid(), os.getgid()
    _check(_libc.unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC))
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/uid_map", f"{user} {user} 1")
    _write("/proc/self/gid_map", f"{group} {group} 1")
    _continue_in_child()  # the first process of the new namespace: its end ends all others
    _check(_libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0))
    _mount_private_folders(tmp_bytes)
    _write("/proc/sys/user/max_user_namespaces", "0")
    _drop_capabilities()
    be_seen()
    _continue_in_child()  # not the first process, which the kernel shields from signals


def give_back_memory() -> None:
    """Return to the kernel what malloc keeps for later, so that what is taken next is seen."""
    _libc.malloc_trim(0)


def use_large_pages() -> None:
    """Move this process's memory to large pages, as far as the kernel can.

    A fork then copies few entries of its tables. See madvise(2), MADV_COLLAPSE.
    """
    with open("/proc/self/maps") as maps:
        lines = [line.split() for line in maps]
    for span, rights, _, _, inode, *_ in lines:
        if rights == "rw-p" and inode == "0":
            low, high = (int(end, 16) for end in span.split("-"))
            low, high = -(-low // LARGE) * LARGE, high // LARGE * LARGE
            for start in range(low, high, LARGE):
                _libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(LARGE), MADV_HUGEPAGE)
                _libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(LARGE), MADV_COLLAPSE)


def limit(*, memory: int, file: int) -> None:
    """Set limits that hold for this process and all it starts.

    Args:
        memory: bytes of address space beyond what is in use now.
        file: bytes in any one file.
    """
    with open("/proc/self/statm") as statm:
        now = int(statm.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + memory, now + memory))
    resource.setrlimit(resource.RLIMIT_FSIZE, (file, file))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))


def _mount_private_folders(tmp_bytes: int) -> None:
    _mount(None, "/", None, MS_REC | MS_PRIVATE)
    _mount("/proc/sys", "/proc/sys", None, MS_BIND)
    for folder in ("/tmp", "/dev/shm"):
        _mount("tmpfs", folder, "tmpfs", MS_NOSUID | MS_NODEV, f"size={tmp_bytes},nr_inodes=10000")
    os.mkdir("/tmp/work")
    os.chdir("/tmp/work")


def _drop_capabilities() -> None:
    locked = MS_NOSUID | MS_NODEV | MS_NOEXEC  # set on /proc outside, so not ours to clear
    _mount(None, "/proc/sys", None, MS_BIND | MS_REMOUNT | MS_RDONLY | locked)
    header = (ctypes.c_uint32 * 2)(LINUX_CAPABILITY_VERSION_3, 0)
    _check(_libc.capset(header, (ctypes.c_uint32 * 6)()))


def _continue_in_child() -> None:
    """Fork; the parent waits for the child, collects orphans, and ends as the child did."""
    child = fork()
    if child == 0:
        return
    os.closerange(3, 256)  # or a socket would not end when its owner does
    status = 0
    while True:
        pid, ended = os.wait()
        if pid == child:
            status = ended
            break
    os._exit(os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status))


def _mount(
    source: str | None, target: str, kind: str | None, flags: int, data: str | None = None
) -> None:
    arguments = [text.encode() if text else None for text in (source, target, kind)]
    _check(_libc.mount(*arguments, ctypes.c_ulong(flags), data.encode() if data else None))


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
