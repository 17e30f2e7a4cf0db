"""Runs submissions in a warm sandbox and returns what their answers did, as plain data."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from course_utils.grading.exercise import Case, Observation, Task, load_exercise
from course_utils.grading.limits import Limits
from course_utils.grading.sandbox.inside import frames
from course_utils.grading.sandbox.jail import can_isolate, command, environment
from course_utils.grading.sandbox.plain import PlainDataError, pack, unpack
from course_utils.grading.sandbox.student_package import write_student_package

START_SECONDS = 180  # importing PyTorch from a cold disk


@dataclass(frozen=True)
class Cell:
    """One code cell: its source, or the id of the exercise that is checked there.

    ``answer`` marks a cell that is for an answer, which is not left out for being slow.
    """

    source: str
    check: str = ""
    answer: bool = False


@dataclass
class Record:
    """What came of running a submission.

    Attributes:
        texts: by cell number, what it printed, showed and raised.
        stopped: by step (``"cell 3"`` or ``"check 01.2"``), why it was ended from outside.
        seen: by exercise, what its answer did in each case.
        earlier: exercises whose starter stands below an answer, which was taken.
    """

    texts: dict[int, str] = field(default_factory=dict)
    stopped: dict[str, str] = field(default_factory=dict)
    seen: dict[str, dict[int, Observation]] = field(default_factory=dict)
    earlier: set[str] = field(default_factory=set)


class BrokenSandboxError(RuntimeError):
    """The sandbox itself does not answer."""


class Sandbox:
    """A warm Python behind walls; a context manager. It runs one submission at a time.

    Args:
        limits: for each submission.
        isolated: use bubblewrap; by default where it works.

    Warns:
        WeakIsolationWarning: there is no bubblewrap.
    """

    salt = "0"  # of the hashes of texts: fixed, so that grades come out the same again

    def __init__(self, limits: Limits | None = None, *, isolated: bool | None = None) -> None:
        self.limits = limits or Limits()
        self.isolated = can_isolate() if isolated is None else isolated
        self._folder = Path(tempfile.mkdtemp(prefix="sandbox-"))
        write_student_package(self._folder / "package")
        (self._folder / "work").mkdir()
        self._server: subprocess.Popen[bytes] | None = None
        self._other: Sandbox | None = None

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
        if self._other is not None:
            self._other.close()
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
        from course_utils.grading.sandbox.trial import Trial

        exercises = {key: load_exercise(key) for key in tasks}
        try:
            return Trial(self, cells, exercises, cases).run()
        finally:
            for sandbox in filter(None, (self, self._other)):
                with contextlib.suppress(BrokenSandboxError):
                    sandbox.call({"do": "end"})

    def another(self) -> "Sandbox":
        """Return a second one, whose Python gives texts other hashes, as a new process does."""
        if self._other is None:
            self._other = Sandbox(self.limits, isolated=self.isolated)
            self._other.salt = "1"
        return self._other

    def call(self, message: dict[str, Any]) -> dict[str, Any]:
        """Send the server a message and return its answer.

        Raises:
            BrokenSandboxError: there is none; the next message goes to a new server.
        """
        if message["do"] == "end" and self._server is None:
            return {}
        message = {**message, "folder": str(self._folder / "work")}
        server = self._server or self._start()
        assert server.stdin is not None
        assert server.stdout is not None
        seconds = self.limits.total_seconds + 2 * self.limits.seconds + 60
        try:
            frames.send(server.stdin.fileno(), pack(message, limit=2**31))
            reply = frames.receive(server.stdout.fileno(), 2**31, seconds)
            return dict(unpack(reply, limit=2**31))
        except (frames.PipeClosedError, OSError, PlainDataError) as error:
            self._stop()
            raise BrokenSandboxError(f"the sandbox does not answer: {error}") from None

    def _start(self) -> "subprocess.Popen[bytes]":
        arguments = ["-P", "-m", "course_utils.grading.sandbox.inside.server"]
        arguments += ["--isolated"] if self.isolated else []
        package = self._folder / "package"
        self._server = subprocess.Popen(
            command(package, arguments, isolated=self.isolated),
            env=environment(package, isolated=self.isolated) | {"PYTHONHASHSEED": self.salt},
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
