"""Try an answer on this machine, where it is trusted: what `check` does, and the references.

Each question goes to a fresh copy of this process, as in the grader's sandbox: what one call leaves
behind, the next does not find. There are no walls.
"""

import contextlib
import io
import os
import select
import signal
import socket
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from typing import Any, NoReturn

from course_utils.grading.exercise import Case, Exercise, Observation, Watch
from course_utils.grading.sandbox.inside import calls, namespaces, watch
from course_utils.grading.sandbox.inside.frames import CHUNK, receive, send, split
from course_utils.grading.sandbox.observing import observe, own_folder, same_conditions
from course_utils.grading.sandbox.plain import PlainDataError, pack, unpack

SECONDS = 30.0  # for one question, as in the grader's sandbox
PRINTED = 15_000  # characters
TICK = 0.02

Run = Callable[[Exercise, Any, Any, Watch], Observation]


def attempt(exercise: Exercise, answer: Any, case: Case, run: Run) -> Observation:
    """Put a case's questions to an answer and read what came.

    Args:
        exercise: whose case it is.
        answer: of a learner, or the reference.
        case: one of the exercise's.
        run: `here` or `apart`.
    """
    watched = exercise.watch(case)
    with same_conditions():
        question = exercise.ask(case)
    seen = run(exercise, answer, question, watched)
    if seen.status == "ran" and exercise.then is not None:
        try:
            with same_conditions():
                question = exercise.then(case, seen.data)
        except Exception as error:  # data of another form than asked for
            said = f"the result has another form than asked for ({error!r})"
            return Observation("failed", error=said)
        second = run(exercise, answer, question, watched)
        seen = replace(second, data=[seen.data, second.data]) if second.status == "ran" else second
    if seen.status == "ran" and exercise.read is not None:
        try:
            with same_conditions():
                seen = replace(seen, data=unpack(pack(exercise.read(case, seen))))
        except Exception as error:
            said = f"What it made could not be read: {type(error).__name__}: {error}"
            return Observation("failed", error=said)
    return seen


def here(exercise: Exercise, answer: Any, question: Any, watched: Watch) -> Observation:
    """Ask in this very process, unless something is to be seen from outside."""
    if (watched.calls and calls.can_watch()) or watched.memory:
        return apart(exercise, answer, question, watched)
    with own_folder():
        seen = observe(exercise.probe, answer, question)
        return replace(seen, left=_left()) if watched.files else seen


def apart(
    exercise: Exercise, answer: Any, question: Any, watched: Watch, seconds: float = SECONDS
) -> Observation:
    """Ask in a copy of this process, with a time limit; show what the answer prints.

    Where the kernel cannot be asked what happens, `Observation.status` is ``"unseen"`` for what
    only it can see. A system other than Linux makes no safe copies: there, this process is asked.
    """
    if (watched.calls == "needed" or watched.memory) and not calls.can_watch():
        return Observation("unseen")
    if sys.platform != "linux":
        with own_folder():
            return replace(observe(exercise.probe, answer, question), left=_left())
    ours, theirs = socket.socketpair()
    gift, giver = socket.socketpair()
    if watched.memory:
        namespaces.give_back_memory()
    with own_folder(), ours, gift, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking beside threads
        child = os.fork()
        if child == 0:
            _be_asked(exercise, answer, question, watched, theirs, giver)
        theirs.close()
        giver.close()
        try:
            seen = _supervise(child, ours, gift, watched, seconds)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(child, 0)
        return replace(seen, left=_left()) if watched.files else seen


def _be_asked(
    exercise: Exercise,
    answer: Any,
    question: Any,
    watched: Watch,
    theirs: socket.socket,
    giver: socket.socket,
) -> NoReturn:
    """What the copy does."""
    try:
        if watched.calls:
            socket.send_fds(giver, [b"L"], [calls.install_filter()])
        printed = io.StringIO()
        with redirect_stdout(printed), redirect_stderr(printed):
            seen = observe(exercise.probe, answer, question)
        claim = {"status": seen.status, "data": seen.data, "error": seen.error,
                 "printed": printed.getvalue()[:PRINTED]}  # fmt: skip
        send(theirs.fileno(), pack(claim))
        receive(theirs.fileno(), 8)  # wait until it has been looked at
    finally:
        os._exit(0)


def _supervise(
    child: int, ours: socket.socket, gift: socket.socket, watched: Watch, seconds: float
) -> Observation:
    deadline, output, claim = time.monotonic() + seconds, bytearray(), None
    listener = _listener(gift, deadline) if watched.calls else None
    if listener is not None:
        listener.fails = watched.fails
    while claim is None:
        waiting: list[Any] = [ours] if listener is None else [ours, listener.fd]
        ready = select.select(waiting, [], [], TICK)[0]
        if listener is not None and listener.fd in ready:
            listener.serve()
        if ours in ready:
            part = ours.recv(CHUNK)
            output += part
            claim = next(split(bytes(output)), None)
            if not part and claim is None:
                return Observation("failed", error="It ended the Python process.")
        elif time.monotonic() > deadline:
            return Observation("failed", error=f"It took longer than {seconds:g} seconds.")
    others = set(watch.tasks(os.getpid())) - {child}
    memory = watch.most_taken(os.getpid(), others) if watched.memory else 0
    send(ours.fileno(), b"")  # it may end now
    seen_calls = tuple(listener.calls) if listener is not None else ()
    if listener is not None:
        listener.close()
    return replace(_observation(claim), calls=seen_calls, memory=memory)


def _listener(gift: socket.socket, deadline: float) -> calls.Listener | None:
    gift.settimeout(max(0.1, deadline - time.monotonic()))
    _, fds, _, _ = socket.recv_fds(gift, 1, 1)
    return calls.Listener(fds[0]) if fds else None


def _observation(claim: bytes) -> Observation:
    try:
        said = unpack(claim)
    except PlainDataError as error:
        return Observation("failed", error=str(error))
    if said["printed"]:
        print(said["printed"], end="")
    return Observation(said["status"], said["data"], said["error"])


def _left() -> dict[str, bytes | None]:
    """Return what lies in the working directory."""
    found: dict[str, bytes | None] = {}
    for entry in sorted(os.scandir("."), key=lambda entry: entry.name):
        found[entry.name] = None
        if entry.is_file(follow_symlinks=False):
            with open(entry.path, "rb") as file:
                found[entry.name] = file.read()
    return found
