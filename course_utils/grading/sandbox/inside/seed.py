"""The process that all submissions are forked from: warm, and without a word of anybody's.

It has PyTorch and IPython loaded, so a fork is ready at once. It reads no message but one byte, so
no child of it finds in its memory what an earlier submission said, or was asked.
"""

import contextlib
import importlib
import os
import signal
import socket
import tempfile
from typing import Any

from IPython.core.interactiveshell import InteractiveShell

from course_utils.grading.exercise import Observation
from course_utils.grading.sandbox.inside import calls, namespaces, session
from course_utils.grading.sandbox.inside.frames import receive, send
from course_utils.grading.sandbox.observing import same_conditions
from course_utils.grading.sandbox.plain import pack, unpack

MAX_REQUEST = 2**31
CASES = "/tmp/cases"


def serve(shell: InteractiveShell, orders: socket.socket, *, isolated: bool) -> None:
    """Fork a process for every order, which brings the sockets to talk to it, until the end."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the children
    while True:
        word, fds, _, _ = socket.recv_fds(orders, 1, 250)
        if not word:
            return
        if namespaces.fork() == 0:
            status = 1
            try:
                orders.close()
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                _begin(shell, fds, isolated)
                status = 0
            finally:
                os._exit(status)
        for fd in fds:
            os.close(fd)


def _begin(shell: InteractiveShell, fds: list[int], isolated: bool) -> None:
    main = fds[0]
    request: dict[str, Any] = unpack(receive(main, MAX_REQUEST), MAX_REQUEST)
    limits = request["limits"]
    os.setsid()  # a signal to its whole group reaches neither seed nor supervisor
    if isolated:
        namespaces.enter(limits["tmp"])
        request["cases"] = CASES
    else:
        folder = tempfile.mkdtemp(dir=request["folder"])
        os.chdir(folder)
        request["cases"] = os.path.join(folder, "cases")
    namespaces.be_seen()
    namespaces.limit(memory=limits["memory"], file=limits["file"])
    send(main, b"P" + request["cases"].encode())
    if request["calls"]:
        listener = calls.install_filter()
        with socket.socket(fileno=fds[1]) as gift:
            socket.send_fds(gift, [b"L"], [listener])
        os.close(listener)
    else:
        os.close(fds[1])
    if "read" in request:
        _read(request, main)
    else:
        asked = dict(zip(request["exercises"], fds[2:], strict=True))
        session.run_submission(shell, request, main, asked)


def _read(request: dict[str, Any], main: int) -> None:
    """Turn what came from a submission into what is judged; no code of its student runs here."""
    for number, (name, case, seen) in enumerate(request["read"]):
        try:
            module = importlib.import_module(name)
            with same_conditions():
                data = module.read(case, Observation(**{**seen, "calls": tuple(seen["calls"])}))
            answer = pack({"case": number, "status": "ran", "data": data, "error": ""})
        except Exception as error:  # of whatever kind the bytes provoke
            said = f"{type(error).__name__}: {error}"[:500]
            answer = pack({"case": number, "status": "failed", "data": None, "error": said})
        send(main, b"C" + answer)
    with contextlib.suppress(OSError):
        send(main, b"Z" + pack(None))
