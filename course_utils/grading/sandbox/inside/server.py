"""The sandbox's first process: it stays warm, and forks a process for each submission.

Importing PyTorch takes seconds and forking a process that has it takes milliseconds. The server
reads requests from its standard input and answers on its standard output, one at a time.
"""

import os
import select
import sys
import tempfile
import time
from typing import Any

import torch
from IPython.core.interactiveshell import InteractiveShell

from course_utils.grading.sandbox.inside import namespaces, session, watch
from course_utils.grading.sandbox.inside.frames import PipeClosedError, receive, send
from course_utils.grading.sandbox.plain import unpack

MAX_REQUEST = 64 * 2**20
TICK = 0.02  # seconds between two looks at a submission's processes


def main() -> int:
    """Serve until the input ends."""
    isolated = "--isolated" in sys.argv
    requests, answers = os.dup(0), os.dup(1)
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    os.dup2(nowhere, 1)
    torch.set_num_threads(1)  # a thread pool would not survive the fork
    shell = session.warm_shell()
    if isolated:
        namespaces.protect_server()
    else:
        namespaces.adopt_orphans()
    os.dup2(nowhere, 2)  # until here, errors were for the instructor
    send(answers, b"ready")
    while True:
        try:
            request = unpack(receive(requests, MAX_REQUEST))
        except PipeClosedError:
            return 0
        output, end = _run(shell, request, isolated, (requests, answers))
        send(answers, end.encode())
        send(answers, output)


def _run(
    shell: InteractiveShell, request: dict[str, Any], isolated: bool, private: tuple[int, int]
) -> tuple[bytes, str]:
    """Fork, run a submission, and return what it sent and how it ended."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            for fd in (reader, *private):
                os.close(fd)
            _be_the_submission(shell, request, isolated, writer)
            status = 0
        finally:
            os._exit(status)
    os.close(writer)
    try:
        return _supervise(child, reader, request["limits"])
    finally:
        watch.kill_descendants(os.getpid())
        os.close(reader)


def _be_the_submission(
    shell: InteractiveShell, request: dict[str, Any], isolated: bool, writer: int
) -> None:
    limits = request["limits"]
    if isolated:
        namespaces.enter(limits["tmp"])
    else:
        os.setsid()
        os.chdir(tempfile.mkdtemp(dir=request["folder"]))
    namespaces.limit(memory=limits["memory"], file=limits["file"])
    session.run_submission(shell, request, lambda data: send(writer, data))


def _supervise(child: int, reader: int, limits: dict[str, Any]) -> tuple[bytes, str]:
    """Collect a submission's messages until it ends or breaks a limit."""
    output = bytearray()
    server = os.getpid()
    usual = watch.private_bytes(server)  # shared with the server until written to
    started = last_sign = time.monotonic()
    while True:
        if select.select([reader], [], [], TICK)[0]:
            part = os.read(reader, 2**20)
            output += part
            last_sign = time.monotonic()
        if ended := _ended(child):
            watch.kill_descendants(server)
            while part := os.read(reader, 2**20):
                output += part
            return bytes(output), ended
        processes = watch.descendants(server)
        memory = sum(max(0, watch.private_bytes(pid) - usual) for pid in processes)
        if len(output) > limits["output"]:
            return b"", "output"
        if len(processes) > limits["processes"]:
            return bytes(output), "processes"
        if memory > limits["memory"]:
            return bytes(output), "memory"
        now = time.monotonic()
        if now - last_sign > limits["seconds"] or now - started > limits["total_seconds"]:
            return bytes(output), "time"


def _ended(child: int) -> str:
    pid, status = os.waitpid(child, os.WNOHANG)
    if not pid:
        return ""
    return "done" if os.waitstatus_to_exitcode(status) == 0 else "died"


if __name__ == "__main__":
    sys.exit(main())
