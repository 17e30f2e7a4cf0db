"""Runs submissions in a warm sandbox and returns what their answers did, as plain data."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from course_utils.grading.exercise import Case, Task
from course_utils.grading.sandbox.inside import frames
from course_utils.grading.sandbox.jail import can_isolate, command, environment
from course_utils.grading.sandbox.observing import Observation
from course_utils.grading.sandbox.plain import MAX_BYTES, PlainDataError, pack, unpack
from course_utils.grading.sandbox.student_package import write_student_package

START_SECONDS = 180  # importing PyTorch from a cold disk
MAX_RUNS = 12  # of one submission: each leaves out one more step that ended the process


@dataclass(frozen=True)
class Limits:
    """What one submission may use.

    Attributes:
        memory: bytes, of all its processes together, beyond what Python and PyTorch take.
        tmp: bytes in its /tmp.
        file: bytes in any one file.
        processes: how many at once.
        output: bytes it may send in all.
        seconds: for each cell, and for each case of an exercise.
        total_seconds: for the whole submission.
    """

    memory: int = 2 * 2**30
    tmp: int = 256 * 2**20
    file: int = 64 * 2**20
    processes: int = 64
    output: int = 3 * MAX_BYTES
    seconds: float = 30.0
    total_seconds: float = 240.0


@dataclass(frozen=True)
class Cell:
    """One code cell: its source, or the id of the exercise that is checked there."""

    source: str
    check: str = ""


@dataclass
class Record:
    """What came of running a submission.

    Attributes:
        texts: by cell number, what it printed, showed and raised.
        stopped: by step (``"cell 3"`` or ``"check 01.2"``), why it was ended from outside.
        seen: by exercise, what its answer did in each case.
    """

    texts: dict[int, str] = field(default_factory=dict)
    stopped: dict[str, str] = field(default_factory=dict)
    seen: dict[str, dict[int, Observation]] = field(default_factory=dict)


@dataclass
class _Run:
    """One run: how it ended, its last step, and what it sent, which is only a claim."""

    end: str
    step: str | None = None
    texts: dict[int, str] = field(default_factory=dict)
    seen: dict[str, dict[int, Observation]] = field(default_factory=dict)

    def take(self, message: dict[str, Any]) -> None:
        if "begin" in message:
            self.step = str(message["begin"])
        elif "cell" in message:
            self.texts[int(message["cell"])] = str(message["text"])
        else:
            seen = Observation(message["status"], message["data"], str(message["error"]))
            self.seen.setdefault(str(message["check"]), {})[int(message["case"])] = seen


class Sandbox:
    """A warm Python behind walls; a context manager. It runs one submission at a time.

    Args:
        limits: for each submission.
        isolated: use bubblewrap; by default where it works.

    Warns:
        WeakIsolationWarning: there is no bubblewrap.
    """

    def __init__(self, limits: Limits | None = None, *, isolated: bool | None = None) -> None:
        self.limits = limits or Limits()
        self.isolated = can_isolate() if isolated is None else isolated
        self._folder = Path(tempfile.mkdtemp(prefix="sandbox-"))
        write_student_package(self._folder / "package")
        (self._folder / "work").mkdir()
        self._server: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Sandbox":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the sandbox and remove its folder."""
        self._stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def run(
        self, cells: list[Cell], tasks: dict[str, Task], cases: dict[str, list[Case]]
    ) -> Record:
        """Run a submission; where a step ends the process, run again without that step.

        Args:
            cells: the submission's code cells, in order.
            tasks: the tasks of the exercises that are checked, by id.
            cases: the cases to try, by exercise id.
        """
        exercises = {
            key: {"answer": task.answer, "starter": task.starter, "cases": cases[key]}
            for key, task in tasks.items()
        }
        request: dict[str, Any] = {
            "cells": [asdict(cell) for cell in cells],
            "exercises": exercises,
            "limits": asdict(self.limits),
            "folder": str(self._folder / "work"),
        }
        deadline = time.monotonic() + self.limits.total_seconds
        record = Record()
        for _ in range(MAX_RUNS):
            run = self._run_once({**request, "skip": list(record.stopped)}, deadline)
            record.texts, record.seen = run.texts, run.seen
            if run.step in ("end", None, *record.stopped):
                break
            record.stopped[str(run.step)] = self._why(run.end)
            if time.monotonic() > deadline:
                break
        return record

    def _run_once(self, request: dict[str, Any], deadline: float) -> "_Run":
        request["limits"]["total_seconds"] = max(1.0, deadline - time.monotonic())
        try:
            end, output = self._ask(pack(request))
        except (frames.PipeClosedError, OSError):
            self._stop()  # a submission broke the server; the next one gets a fresh one
            return _Run("died")
        run = _Run(end)
        for frame in frames.split(output):
            with contextlib.suppress(PlainDataError, KeyError, TypeError, ValueError):
                run.take(unpack(frame))
        return run

    def _ask(self, request: bytes) -> tuple[str, bytes]:
        server = self._server or self._start()
        assert server.stdin is not None
        assert server.stdout is not None
        frames.send(server.stdin.fileno(), request)
        answers, seconds = server.stdout.fileno(), self.limits.total_seconds + 30
        end = frames.receive(answers, 100, seconds).decode(errors="replace")
        return end, frames.receive(answers, self.limits.output + 2**22, seconds)

    def _start(self) -> "subprocess.Popen[bytes]":
        arguments = ["-P", "-m", "course_utils.grading.sandbox.inside.server"]
        arguments += ["--isolated"] if self.isolated else []
        package = self._folder / "package"
        self._server = subprocess.Popen(
            command(package, arguments, isolated=self.isolated),
            env=environment(package, isolated=self.isolated),
            cwd="/" if self.isolated else self._folder / "work",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        assert self._server.stdout is not None
        try:
            frames.receive(self._server.stdout.fileno(), 100, START_SECONDS)
        except frames.PipeClosedError as error:
            said = self._stop()
            raise RuntimeError(f"the sandbox did not start: {error}\n{said}") from None
        return self._server

    def _stop(self) -> str:
        """Kill the server; return what it wrote to its standard error."""
        if self._server is None:
            return ""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._server.pid, signal.SIGKILL)
        _, said = self._server.communicate()
        self._server = None
        return said.decode(errors="replace")

    def _why(self, end: str) -> str:
        limits = self.limits
        return {
            "time": f"it took longer than {limits.seconds:g} seconds",
            "memory": f"it used more than {limits.memory / 2**20:,.0f} MB of memory",
            "processes": f"it started more than {limits.processes} processes",
            "output": f"it sent more than {limits.output / 2**20:,.0f} MB",
        }.get(end, "it ended the Python process")
