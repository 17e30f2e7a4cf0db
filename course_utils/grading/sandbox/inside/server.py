"""The sandbox's first process: it supervises the submission that runs, and sees to its limits.

It takes messages on its standard input and answers on its standard output, one at a time. It never
runs a submission's code, and cannot be reached by it.
"""

import contextlib
import gc
import os
import select
import socket
import stat
import sys
import time
from collections.abc import Iterator
from typing import Any

import torch

from course_utils.grading.sandbox.inside import calls, namespaces, seed, session, watch
from course_utils.grading.sandbox.inside.frames import CHUNK, PipeClosedError, frame, receive, send
from course_utils.grading.sandbox.inside.frames import take as take_frame
from course_utils.grading.sandbox.plain import MAX_BYTES, pack, unpack

TICK = 0.02  # seconds between two looks at how many processes there are
LOOK = 0.1  # and at their memory
MAX_FRAME = MAX_BYTES + 2**20
MAX_FILES, MAX_FILE = 50, 2**24


def main() -> int:
    """Serve until the input ends."""
    isolated = "--isolated" in sys.argv
    requests, answers = os.dup(0), os.dup(1)
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    os.dup2(nowhere, 1)
    orders, source = _make_seed(isolated, (requests, answers))
    os.dup2(nowhere, 2)  # until here, errors were for the instructor
    send(answers, b"ready")
    current: Submission | None = None
    while True:
        try:
            request = unpack(receive(requests, seed.MAX_REQUEST), seed.MAX_REQUEST)
        except PipeClosedError:
            if current is not None:
                current.close()  # without walls, its processes would outlive this one
            return 0
        if request["do"] == "ask" and current is not None:
            reply = current.ask(request)
        else:
            if current is not None:
                current.close()
            current = Submission(orders, source, isolated, request) if "limits" in request else None
            reply = current.run() if current is not None else {}
        send(answers, pack(reply, seed.MAX_REQUEST))


class Submission:
    """One submission that runs, as its supervisor sees it: sockets, processes, system calls."""

    def __init__(
        self, orders: socket.socket, source: int, isolated: bool, request: dict[str, Any]
    ) -> None:
        self.source, self.limits = source, request["limits"]
        self.folders = ("tmp", "dev/shm") if isolated else ()
        self.root = "/proc/{}/root" if isolated else ""
        self.usual = watch.own_bytes(source)  # shared with the seed until written to
        self.main, self.gift, *others = self.sockets = [
            socket.socketpair() for _ in ["main", "gift", *request["exercises"]]
        ]
        self.asked = dict(zip(request["exercises"], (ours for ours, _ in others), strict=True))
        self.buffers = {ours: bytearray() for ours, _ in self.sockets}
        self.listener: calls.Listener | None = None
        self.looked = self.measured = 0.0
        self.measure: set[int] | None = None  # the processes whose memory does not count
        self.most = 0  # bytes that the others took
        socket.send_fds(orders, [b"!"], [theirs.fileno() for _, theirs in self.sockets])
        for ours, theirs in self.sockets:
            theirs.close()
            ours.setblocking(False)
        self.request = request

    def run(self) -> dict[str, Any]:
        """Let it run its cells, or read; return what it sent, when, and how that ended."""
        main, start = self.main[0], time.monotonic()
        sent: list[bytes] = []
        times: list[float] = []
        out, end, size = bytearray(frame(pack(self.request, seed.MAX_REQUEST))), "", 0
        while not end:
            now = time.monotonic()
            left = min(now + self.limits["seconds"], start + self.limits["total_seconds"])
            data = self._next(main, out, left)
            now = time.monotonic()
            if isinstance(data, str):
                over = data == "time" and now - start >= self.limits["total_seconds"]
                end = "total" if over else data
            elif data[:1] == b"P":
                self.cases = data[1:].decode()
                if self.request["calls"]:
                    end = self._take_listener(now + 30)
            else:
                sent.append(data[1:])
                times.append(now - start)
                size += len(data)
                end = "end" if data[:1] == b"Z" else "output" if self._too_much(size) else ""
        return {"end": end, "sent": sent, "times": times, "seconds": time.monotonic() - start}

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Put a question; return the claim that came, and what was seen from outside."""
        sock, watched = self.asked[request["exercise"]], request["watch"]
        self._forget(sock)
        token, claim = os.urandom(session.TOKEN), None
        out = bytearray(frame(token + request["question"]))
        self.measure = set(watch.tasks(self.source)) if watched["memory"] else None
        self.most = 0
        seen: list[str] = []
        if self.listener is not None:
            self.listener.calls, self.listener.fails = seen, watched["fails"]
        deadline, end = time.monotonic() + self.limits["seconds"], ""
        while not end:
            data = self._next(sock, out, deadline)
            if isinstance(data, str):
                end = data
            elif data[: 1 + len(token)] == b"R" + token:
                claim = data[1 + len(token) :]
                self._measure()
                out += frame(b"")  # it may end now
            elif data[:1] == b"E":
                end = "done" if claim is not None else "died"
        self.measure = None
        if self.listener is not None:
            self.listener.calls, self.listener.fails = [], ""
        left = self._left(token) if watched["files"] else {}
        return {"end": end, "claim": claim or b"", "calls": seen[:1000], "memory": self.most,
                "left": left}  # fmt: skip

    def close(self) -> None:
        """End all its processes."""
        watch.kill_below(self.source)
        if self.listener is not None:
            self.listener.close()
        for ours, _ in self.sockets:
            ours.close()

    def _next(self, sock: socket.socket, out: bytearray, deadline: float) -> bytes | str:
        """Return the next frame, or why there is none; send what is to be sent meanwhile."""
        buffer = self.buffers[sock]
        while True:
            if (data := take_frame(buffer)) is not None:
                return data
            waiting: list[Any] = [sock] if self.listener is None else [sock, self.listener.fd]
            ready, writable, _ = select.select(waiting, [sock] if out else [], [], TICK)
            if self.listener is not None and self.listener.fd in ready:
                self.listener.serve()
            try:
                if writable:
                    del out[: sock.send(out[:CHUNK])]
                if sock in ready:
                    part = sock.recv(CHUNK)
                    if not part:
                        return "died"
                    buffer += part
            except OSError:
                return "died"
            if len(buffer) > MAX_FRAME:
                return "output"
            if trouble := self._trouble():
                return trouble
            if time.monotonic() > deadline:
                return "time"

    def _trouble(self) -> str:
        """Return the limit that is broken, or ""; look only now and then."""
        if time.monotonic() - self.looked < TICK:
            return ""
        tasks = watch.tasks(self.source)
        self._measure()
        self.looked = time.monotonic()
        if sum(tasks.values()) > self.limits["processes"]:
            return "processes"
        if self.looked - self.measured < LOOK:
            return ""
        memory = watch.memory_of(list(tasks), self.usual, self.limits["memory"], self.folders)
        self.measured = time.monotonic()
        return "memory" if memory > self.limits["memory"] else ""

    def _measure(self) -> None:
        """Note the most memory so far: a process can forget its own record, and end."""
        if self.measure is not None:
            self.most = max(self.most, watch.most_taken(self.source, self.measure))

    def _too_much(self, size: int) -> bool:
        return size > int(self.limits["output"])

    def _take_listener(self, deadline: float) -> str:
        """The process gives its listener away before anything of the student's runs."""
        sock = self.gift[0]
        if not select.select([sock], [], [], max(0.0, deadline - time.monotonic()))[0]:
            return "died"
        _, fds, _, _ = socket.recv_fds(sock, 1, 1)
        if not fds:
            return "died"
        self.listener = calls.Listener(fds[0])
        return ""

    def _forget(self, sock: socket.socket) -> None:
        """Drop what was said before anything was asked."""
        self.buffers[sock].clear()
        with contextlib.suppress(BlockingIOError):
            while sock.recv(CHUNK):
                pass

    def _left(self, token: bytes) -> dict[str, bytes | None]:
        """Return what lies in the folder of a case, without following any link."""
        for pid in watch.tasks(self.source) if self.root else [0]:
            with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
                fd = os.open(self.root.format(pid) or "/", os.O_RDONLY | os.O_DIRECTORY)
                stack.callback(os.close, fd)
                for part in (*self.cases.strip("/").split("/"), token.hex()):
                    fd = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)
                    stack.callback(os.close, fd)
                return dict(_files(fd))
        return {}


def _files(folder: int) -> Iterator[tuple[str, bytes | None]]:
    for name in sorted(os.listdir(folder))[:MAX_FILES]:
        content = None
        with contextlib.suppress(OSError):
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
            with open(os.open(name, flags, dir_fd=folder), "rb") as file:
                status = os.fstat(file.fileno())
                if stat.S_ISREG(status.st_mode) and status.st_size <= MAX_FILE:
                    content = file.read(MAX_FILE)
        yield name.encode("utf-8", "replace").decode(), content


def _make_seed(isolated: bool, private: tuple[int, int]) -> tuple[socket.socket, int]:
    """Warm up, and fork the process that submissions are forked from."""
    gc.disable()  # all that is made here stays
    torch.set_num_threads(1)  # a thread pool would not survive the fork
    shell = session.warm_shell()
    gc.freeze()  # a collection in a fork would touch, and so copy, all that is shared
    gc.enable()
    namespaces.use_large_pages()
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:
        try:
            for fd in private:
                os.close(fd)
            ours.close()
            if isolated:
                namespaces.be_unseen()
            namespaces.adopt_orphans()
            seed.serve(shell, theirs, isolated=isolated)
        finally:
            os._exit(0)
    theirs.close()
    if isolated:
        namespaces.be_unseen()
    return ours, child


if __name__ == "__main__":
    sys.exit(main())
