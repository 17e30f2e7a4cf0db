"""Keeps an eye on everything a submission has started, through /proc."""

import contextlib
import os
import resource
import signal

PAGE = resource.getpagesize()


def tasks(ancestor: int) -> dict[int, int]:
    """Return the processes below one that still run: by id, how many threads each has."""
    children: dict[int, list[tuple[int, int]]] = {}
    for pid in _processes():
        with contextlib.suppress(OSError, ValueError, IndexError):
            # The name, in parentheses, may hold anything, so read what follows the last one.
            fields = _read(pid, "stat").rpartition(b")")[2].split()
            if fields[0] not in b"ZX":
                children.setdefault(int(fields[1]), []).append((pid, int(fields[17])))
    found: dict[int, int] = {}
    new = [ancestor]
    while new:
        below = [child for parent in new for child in children.get(parent, [])]
        found.update(below)
        new = [pid for pid, _ in below]
    return found


def own_bytes(pid: int) -> int:
    """Return the memory of a process that is not backed by files of a disk; 0 if it is gone."""
    try:
        _, resident, shared, *_ = _read(pid, "statm").split()
    except (OSError, ValueError):
        return 0
    return (int(resident) - int(shared)) * PAGE


def memory_of(pids: list[int], usual: int, limit: int, folders: tuple[str, ...]) -> int:
    """Return the memory that processes hold together: their own, shared, and files in memory.

    Args:
        pids: of the processes.
        usual: bytes that each has in common with the process it was forked from.
        limit: below it an estimate from above is enough: what is exact takes longer.
        folders: of theirs that lie in memory, such as ``"tmp"``.
    """
    files = _files_in_memory(pids, folders)
    estimate = sum(max(0, own_bytes(pid) - usual) for pid in pids)
    estimate += max(files, sum(_fields(pid, "status").get("RssShmem", 0) for pid in pids))
    if estimate <= limit:
        return estimate
    parts = [_fields(pid, "smaps_rollup") for pid in pids]
    shared = max(files, sum(part.get("Pss_Shmem", 0) for part in parts))
    return max(0, sum(part.get("Pss_Anon", 0) for part in parts) - usual) + shared


def most_taken(ancestor: int, before: set[int]) -> int:
    """Return the most bytes that new processes took beyond those of what they were forked from.

    Args:
        ancestor: of all processes.
        before: those that are not new.
    """
    new = [pid for pid in tasks(ancestor) if pid not in before]
    # A fork has no page of a file until it touches it: libraries count as taken then.
    usual = min((_fields(_parent(pid), "status").get("RssAnon", 0) for pid in new), default=0)
    return sum(max(0, _fields(pid, "status").get("VmHWM", 0) - usual) for pid in new)


def kill_below(ancestor: int) -> None:
    """Kill until none is left: some may be starting others."""
    while pids := tasks(ancestor):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _files_in_memory(pids: list[int], folders: tuple[str, ...]) -> int:
    """Return the bytes in the folders that lie in memory, and in files without a name."""
    total, seen = _in_folders(pids, folders), set()
    for pid in pids:
        with contextlib.suppress(OSError):
            for fd in os.listdir(f"/proc/{pid}/fd"):
                path = f"/proc/{pid}/fd/{fd}"
                with contextlib.suppress(OSError):
                    if os.readlink(path).startswith("/memfd:"):
                        status = os.stat(path)
                        if status.st_ino not in seen:
                            seen.add(status.st_ino)
                            total += status.st_blocks * 512
    return total


def _in_folders(pids: list[int], folders: tuple[str, ...]) -> int:
    for pid in pids:  # not all can be looked at; those that can see the same folders
        with contextlib.suppress(OSError):
            rooms = [os.statvfs(f"/proc/{pid}/root/{folder}") for folder in folders]
            return sum((room.f_blocks - room.f_bfree) * room.f_frsize for room in rooms)
    return 0


def _fields(pid: int, name: str) -> dict[str, int]:
    """Return the lines ``Name: 12 kB`` of a file in /proc, in bytes."""
    found: dict[str, int] = {}
    with contextlib.suppress(OSError):
        for line in _read(pid, name).decode(errors="replace").splitlines():
            key, _, value = line.partition(":")
            if value.endswith(" kB"):
                found[key] = int(value.split()[0]) * 1024
    return found


def _parent(pid: int) -> int:
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(_read(pid, "stat").rpartition(b")")[2].split()[1])
    return 0


def _read(pid: int, name: str) -> bytes:
    """Return what a file in /proc says; it is looked at so often that each layer counts."""
    with open(f"/proc/{pid}/{name}", "rb", buffering=0) as file:
        return file.read()


def _processes() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]
