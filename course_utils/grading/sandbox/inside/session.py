"""Run a submission: its cells in order, and at each check a copy of the process that can be asked.

All of this shares its processes with the student's code, which can change all of it. What leaves
are claims about what the answers did; they are read and judged elsewhere. What comes in are
questions, after all cells have run: nothing that the cells print can hold any.
"""

import contextlib
import importlib
import io
import itertools
import os
import select
import signal
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from typing import Any

import torch
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from course_utils.grading.sandbox.inside import namespaces
from course_utils.grading.sandbox.inside.frames import PipeClosedError, receive, send
from course_utils.grading.sandbox.inside.warm import warm_up
from course_utils.grading.sandbox.observing import (
    claim,
    is_untouched,
    same_conditions,
    starter_fingerprints,
)
from course_utils.grading.sandbox.plain import MAX_BYTES, pack, unpack

OUTPUT_CHARACTERS, LAST_CHARACTERS = 15_000, 5_000  # of one cell; what is between is dropped
TOKEN = 16  # bytes before a question: an answer that came before it was asked is none
MAX_QUESTION = MAX_BYTES + 2**20


def warm_shell() -> InteractiveShell:
    """Return the shell that runs the cells; made before the fork."""
    warm_up()
    with same_conditions():
        claim(lambda answer, question: answer, torch.ones(1), None)
    importlib.import_module("tqdm").tqdm.monitor_interval = 0  # no thread of its own
    config = Config()
    config.HistoryManager.enabled = False
    config.InteractiveShell.colors = "nocolor"
    config.InteractiveShell.xmode = "Plain"  # the full form takes seconds for a deep recursion
    shell = InteractiveShell.instance(config=config)
    history: Any = shell.history_manager
    history.outputs = _Forgetful()
    for magic in ("matplotlib", "pylab", "pip", "conda"):  # of a notebook with a page and network
        shell.magics_manager.register_function(_nothing, "line", magic)
    return shell


def run_submission(
    shell: InteractiveShell, request: dict[str, Any], main: int, asked: dict[str, int]
) -> None:
    """Run the cells and send what they print; then answer questions until the end.

    Args:
        shell: from `warm_shell`.
        request: ``cells`` (``source``, and ``check``: an exercise id or ""),
            ``exercises`` (by id: ``answer``, ``starter``, ``memory``: whether it is measured,
            ``questions``: how many will be put at most),
            ``skip``: steps, ``cases``: a folder,
            ``direct``: an exercise that is asked in this very process, or "".
        main: descriptor for what the cells do.
        asked: by exercise, descriptor for its questions and answers.
    """
    for task in request["exercises"].values():
        starter_fingerprints(task["starter"], task["answer"])  # before any code of the student
    answers = _Answers(shell.user_ns, request["exercises"])
    copies = _Copies(request, main, asked)
    waiting = []
    for number, cell in enumerate(request["cells"]):
        step = f"cell {number}"
        if cell["check"]:
            if not copies.make(cell["check"], answers):
                waiting.append(cell["check"])
        elif step not in request["skip"]:
            send(main, b"C" + pack({"begin": step}))
            send(main, b"C" + pack({"cell": number, "text": run_cell(shell, cell["source"])}))
            answers.note()
    for exercise_id in waiting:  # the answer may have come later than its check
        copies.make(exercise_id, answers)
    copies.end()


def run_cell(shell: InteractiveShell, source: str) -> str:
    """Run a cell; return what it printed, showed and raised, as text."""
    output = _Capped()
    with redirect_stdout(output), redirect_stderr(output):
        shell.run_cell(source, store_history=True)
    return output.getvalue()


def run_case(exercise_id: str, answer: Any, fd: int, folder: str) -> None:
    """Take one question, put it to the answer in an empty folder, and send what came."""
    data = receive(fd, MAX_QUESTION)
    token, question = data[:TOKEN], unpack(data[TOKEN:])
    path = os.path.join(folder, token.hex())
    os.umask(0o077)  # whatever a cell has set
    os.makedirs(path)
    os.chdir(path)
    module = f"course_utils.grading.exercises.ex_{exercise_id.replace('.', '_')}"
    probe = importlib.import_module(module).probe
    with redirect_stdout(_Capped()), redirect_stderr(_Capped()):
        said = claim(probe, answer, question)
    send(fd, b"R" + token + said)
    receive(fd, 8)  # wait until it has been looked at


@dataclass
class _Answers:
    """Which answers there are: the latest that is not the starter, should that come again below."""

    names: dict[str, Any]
    exercises: dict[str, Any]
    attempts: dict[str, Any] = field(default_factory=dict)
    seen: dict[str, int] = field(default_factory=dict)

    def note(self) -> None:
        for key, task in self.exercises.items():
            thing = self.names.get(task["answer"])
            if thing is not None and self.seen.get(key) != id(thing):
                self.seen[key] = id(thing)
                if not is_untouched(thing, task["starter"], task["answer"]):
                    self.attempts[key] = thing

    def find(self, key: str) -> tuple[Any, str]:
        """Return the answer and what it is: "attempted", "earlier", or "" if there is none."""
        if key not in self.attempts:
            return None, ""
        latest = self.names.get(self.exercises[key]["answer"])
        return self.attempts[key], "attempted" if latest is self.attempts[key] else "earlier"


class _Copies:
    """Forks, at each check, a process that knows what has been defined so far."""

    def __init__(self, request: dict[str, Any], main: int, asked: dict[str, int]) -> None:
        self.request, self.main, self.asked = request, main, dict(asked)
        self.states: dict[str, str] = {}

    def make(self, key: str, answers: _Answers) -> bool:
        """Make the process that is asked about an exercise; return False if there is no answer."""
        if key in self.states:
            return True
        answer, state = answers.find(key)
        if not state:
            return False
        if self.request["direct"]:
            if key == self.request["direct"]:
                self._ask_here(key, answer, state)
            return True
        if len(os.listdir("/proc/self/task")) > 1:  # a copy could wait for a thread it lacks
            self.states[key] = "threads"
            return True
        self.states[key] = state
        if os.fork() == 0:
            self._be_a_copy(key, answer)
        os.close(self.asked.pop(key))
        return True

    def end(self) -> None:
        """Say which exercises can be asked, and wait until all is over."""
        for fd in self.asked.values():
            os.close(fd)
        send(self.main, b"Z" + pack(self.states))
        while True:
            with contextlib.suppress(ChildProcessError):
                os.wait()
                continue
            signal.pause()

    def _ask_here(self, key: str, answer: Any, state: str) -> None:
        send(self.main, b"Z" + pack({key: state}))
        run_case(key, answer, self.asked[key], self.request["cases"])
        send(self.asked[key], b"E0")
        signal.pause()

    def _be_a_copy(self, key: str, answer: Any) -> None:
        """Fork once more for each question: what one case leaves behind, the next does not find.

        After the last question none follows, so it needs no process of its own; but where memory
        is measured, it is measured against the process that was forked.
        """
        task = self.request["exercises"][key]
        try:
            if task["memory"]:
                namespaces.give_back_memory()
            fd = self.asked.pop(key)
            for other in (self.main, *self.asked.values()):
                os.close(other)
            for left in itertools.count(task["questions"], -1):
                _wait_readable(fd)
                last = left == 1 and not task["memory"]
                child = 0 if last else namespaces.fork()
                if child == 0:
                    run_case(key, answer, fd, self.request["cases"])
                    if last:
                        send(fd, b"E0")
                    os._exit(0)
                _, status = os.waitpid(child, 0)
                send(fd, b"E0" if status == 0 else b"E1")
        except (PipeClosedError, OSError):
            pass
        finally:
            os._exit(1)


def _wait_readable(fd: int) -> None:
    select.select([fd], [], [])


def _nothing(line: Any) -> None:
    """In place of a magic that a sandbox has no use for."""


class _Forgetful(dict[int, list[Any]]):
    """Keeps nothing: IPython would keep all that a cell prints, be it endless."""

    def __missing__(self, key: int) -> list[Any]:
        return []


class _Capped(io.StringIO):
    """A text stream that keeps its beginning and its end."""

    last = ""

    def write(self, text: str) -> int:
        room = max(0, OUTPUT_CHARACTERS - self.tell())
        if room:  # StringIO keeps a record of empty texts too
            super().write(text[:room])
        self.last = (self.last + text[room:])[-LAST_CHARACTERS:]
        return len(text)

    def getvalue(self) -> str:
        left_out = "\n… some output is left out here …\n" if len(self.last) > 0 else ""
        return super().getvalue() + left_out + self.last
