"""Starts the capstone's scripts, kills them, and reads the losses that they print."""

import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from course_utils.lessons.capstone_data import Data

SECONDS = 120.0  # for one start
PRINTED = 4 * 2**20  # bytes of one start
TICK = 0.2  # seconds between two looks at what runs
# Sets the limit that a full disk is played with; the system then refuses to write more.
LIMITED = (
    "import os, resource, sys; size = int(sys.argv[1]); "
    "size and resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)); "
    "os.execv(sys.executable, [sys.executable, *sys.argv[2:]])"
)


class Wrong(Exception):
    """What the script does not do; for the learner to read."""


@dataclass(frozen=True)
class Launch:
    """How a script is started.

    Attributes:
        command: the command line.
        folder: the working directory.
        environment: the whole of it.
        trouble: given the id of the process, says which limit is broken; "" for none.
    """

    command: list[str]
    folder: Path
    environment: dict[str, str]
    trouble: Callable[[int], str] = lambda process: ""


# From a script, the folder of its run, the package it sees, and the most bytes in a file (or
# None). The script lies in a folder that is gone after the start, and so does whatever it wrote
# there: what is to stay goes to the folder of the run.
Start = Callable[[Path, Path, Path, int | None], AbstractContextManager[Launch]]


@contextmanager
def at_home(script: Path, run: Path, package: Path, file_size: int | None) -> Iterator[Launch]:
    """Start a script that is trusted, as on a learner's own machine."""
    with tempfile.TemporaryDirectory() as folder:
        copy = shutil.copy(script, Path(folder) / "train.py")
        arguments = [str(file_size or 0), str(copy), str(run.resolve())]
        environment = {**os.environ, "PYTHONPATH": str(package), "PYTHONDONTWRITEBYTECODE": "1"}
        yield Launch([sys.executable, "-c", LIMITED, *arguments], Path(folder), environment)


class Started:
    """A script that runs.

    Attributes:
        why: it was ended from outside, and why; "" if it was not.
    """

    def __init__(
        self, process: "subprocess.Popen[bytes]", launch: Launch, errors: IO[bytes], seconds: float
    ) -> None:
        self.process, self.launch, self.errors, self.seconds = process, launch, errors, seconds
        self.deadline = time.monotonic() + seconds
        self.looked = 0.0
        self.why = ""

    def lines(self) -> Iterator[str]:
        """Yield what it prints, line by line, until it ends or is ended."""
        assert self.process.stdout is not None
        output, size, rest = self.process.stdout.fileno(), 0, b""
        while not self._in_trouble():
            if not select.select([output], [], [], TICK)[0]:
                continue
            part = os.read(output, 2**16)
            if not part:
                break
            size += len(part)
            if size > PRINTED:
                self._end(f"it printed more than {PRINTED / 2**20:.0f} MB")
                return
            *whole, rest = (rest + part).split(b"\n")
            yield from (line.decode(errors="replace") for line in whole)
        yield rest.decode(errors="replace")
        self._wait()

    def complaint(self) -> str:
        """Return the last line that it wrote to its standard error."""
        self.errors.seek(max(0, self.errors.seek(0, os.SEEK_END) - 4096))
        said = self.errors.read(4096).decode(errors="replace").strip().splitlines()
        return said[-1][:300] if said else "no message"

    def kill(self) -> None:
        """End it with all that it has started, if it still runs."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def _wait(self) -> None:
        while self.process.poll() is None and not self._in_trouble():
            time.sleep(TICK / 10)

    def _in_trouble(self) -> bool:
        now = time.monotonic()
        if not self.why and now > self.deadline:
            self._end(f"it was not done after {self.seconds:g} seconds")
        elif not self.why and now - self.looked > TICK:
            self.looked = now
            if why := self.launch.trouble(self.process.pid):
                self._end(why)
        return bool(self.why)

    def _end(self, why: str) -> None:
        self.why = why
        self.kill()
        self.process.wait()


@dataclass(frozen=True)
class Runner:
    """Runs one script.

    Attributes:
        script: the program.
        start: how it is started.
        seconds: the most that one start may take.
    """

    script: Path
    start: Start = at_home
    seconds: float = SECONDS

    @contextmanager
    def started(self, run: Path, data: Data, file_size: int | None = None) -> Iterator[Started]:
        """Start it on a folder; at the end of the block it ends, if it has not before."""
        run.mkdir(exist_ok=True)
        with (
            self.start(self.script, run, data.package, file_size) as launch,
            tempfile.TemporaryFile() as errors,
            subprocess.Popen(
                launch.command, cwd=launch.folder, env=launch.environment, stderr=errors,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True,
            ) as process,
        ):  # fmt: skip
            started = Started(process, launch, errors, self.seconds)
            try:
                yield started
            finally:
                started.kill()

    def finish(self, run: Path, data: Data) -> dict[int, str]:
        """Run to the end; return the loss of each step that was printed.

        Raises:
            Wrong: it ends with an error, or does not end.
        """
        with self.started(run, data) as started:
            losses = dict(filter(None, map(_loss, started.lines())))
            if started.why:
                raise Wrong(f"started on {run.name!r}, {started.why}")
            if started.process.returncode:
                said = started.complaint()
                raise Wrong(f"started on {run.name!r}, it ends with an error: {said}")
        return losses

    def kill_after(self, run: Path, data: Data, step: int) -> dict[int, str]:
        """Send SIGKILL as soon as a step, or a later one, is printed; return the losses so far."""
        losses: dict[int, str] = {}
        with self.started(run, data) as started:
            for found in filter(None, map(_loss, started.lines())):
                losses[found[0]] = found[1]
                if found[0] >= step:
                    break
        return losses


def entries(folder: Path) -> Iterator["os.DirEntry[str]"]:
    """Yield all that lies below a folder; no link is followed, and what vanishes is passed over."""
    todo = [os.fspath(folder)]
    while todo:
        try:
            with os.scandir(todo.pop()) as found:
                inside = list(found)
        except OSError:
            continue
        yield from inside
        todo += [entry.path for entry in inside if entry.is_dir(follow_symlinks=False)]


def _loss(line: str) -> tuple[int, str] | None:
    words = line[:100].split()
    if len(words) != 3 or words[0] != "step" or not words[1].isdecimal():
        return None
    return int(words[1]), words[2]
