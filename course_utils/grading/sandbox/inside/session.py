"""Run one submission: its cells in order, and at each check the probe of that exercise.

This shares a process with the student's code, which can change all of it. What leaves are claims
about what the answers did; they are judged outside.
"""

import importlib
import io
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from typing import Any

from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from course_utils.grading.sandbox.observing import Observation, is_untouched, observe
from course_utils.grading.sandbox.plain import pack

OUTPUT_CHARACTERS, LAST_CHARACTERS = 15_000, 5_000  # of one cell; what is between is dropped

Send = Callable[[bytes], None]


def warm_shell() -> InteractiveShell:
    """Return the shell that runs the cells; made before the fork."""
    importlib.import_module("torch._dynamo")  # the first optimizer would, for a second or more
    config = Config()
    config.HistoryManager.enabled = False
    config.InteractiveShell.colors = "nocolor"
    config.InteractiveShell.xmode = "Plain"  # the full form takes seconds for a deep recursion
    shell = InteractiveShell.instance(config=config)
    history: Any = shell.history_manager
    history.outputs = _Forgetful()
    return shell


def run_submission(shell: InteractiveShell, request: dict[str, Any], send: Send) -> None:
    """Run the cells and send what they print and do.

    Args:
        shell: from `warm_shell`.
        request: ``cells`` (``source``, and ``check``: an exercise id or ""),
            ``exercises`` (by id: ``answer``, ``starter``, ``cases``), ``skip``: steps.
        send: takes each message, as `pack` makes it.
    """
    waiting = []
    for number, cell in enumerate(request["cells"]):
        if cell["check"]:
            if not _check(shell, request, cell["check"], send):
                waiting.append(cell["check"])
        elif f"cell {number}" not in request["skip"]:
            send(pack({"begin": f"cell {number}"}))
            send(pack({"cell": number, "text": run_cell(shell, cell["source"])}))
    for exercise_id in waiting:  # the answer may have come later than its check
        _check(shell, request, exercise_id, send)
    send(pack({"begin": "end"}))


def run_cell(shell: InteractiveShell, source: str) -> str:
    """Run a cell; return what it printed, showed and raised, as text."""
    output = _Capped()
    with redirect_stdout(output), redirect_stderr(output):
        shell.run_cell(source, store_history=True)
    return output.getvalue()


def _check(shell: InteractiveShell, request: dict[str, Any], exercise_id: str, send: Send) -> bool:
    """Probe the answer; return False where there is none yet."""
    step = f"check {exercise_id}"
    if step in request["skip"]:
        return True
    send(pack({"begin": step}))
    exercise = request["exercises"][exercise_id]
    answer = shell.user_ns.get(exercise["answer"])
    if answer is None or is_untouched(answer, exercise["starter"], exercise["answer"]):
        return False
    module = f"course_utils.grading.exercises.ex_{exercise_id.replace('.', '_')}"
    probe = importlib.import_module(module).probe
    for number, case in enumerate(exercise["cases"]):
        with redirect_stdout(_Capped()), redirect_stderr(_Capped()):
            seen = observe(probe, answer, case)
        send(_message(exercise_id, number, seen))
    return True


def _message(exercise_id: str, number: int, seen: Observation) -> bytes:
    error = str(seen.error)[:OUTPUT_CHARACTERS]
    return pack({
        "check": exercise_id, "case": number, "status": seen.status, "data": seen.data,
        "error": error,
    })  # fmt: skip


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
