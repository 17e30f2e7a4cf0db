"""What every lesson uses: a clean start, package code on show, errors and tables to read.

All output is the same on every machine, so that CI can compare it.
"""

import html
import inspect
import os
import platform
import re
import shutil
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import torch
from IPython.display import HTML, Markdown, display

from course_utils.resume.rng import seed_everything
from course_utils.tables import Table

T = TypeVar("T")


def start(lesson: str, seed: int = 0) -> Path:
    """Prepare a lesson and return its empty scratch folder, ``scratch/<lesson>``.

    PyTorch computes on one thread: the bits of a sum depend on how it is split.

    Args:
        lesson: the lesson's name, for example ``"01_state_dict_anatomy"``.
        seed: for the generators of Python, NumPy and PyTorch.
    """
    torch.set_num_threads(1)
    seed_everything(seed)
    scratch = Path("scratch") / lesson
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    return scratch


def show_source(*objects: Callable[..., Any] | type) -> None:
    """Show the package's own code of functions or classes, so text and code cannot drift."""
    for thing in objects:
        code = textwrap.dedent(inspect.getsource(thing)).rstrip()
        display(Markdown(f"`{thing.__module__}`\n```python\n{code}\n```"))


def check_environment() -> dict[str, str]:
    """Describe what the lessons run on: versions, cores, memory, disk, GPU and compiler."""
    compiler = next((name for name in ("g++", "clang++", "c++") if shutil.which(name)), "none")
    pages = os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 0
    memory = pages * os.sysconf("SC_PAGE_SIZE") / 2**30 if pages else 0
    return {
        "Python": platform.python_version(),
        "PyTorch": str(torch.__version__),
        "torchvision": version("torchvision"),
        "system": f"{platform.system()} on {platform.machine()}",
        "processor cores": str(os.cpu_count()),
        "memory": f"{memory:.0f} GiB" if memory else "unknown",
        "free disk space": f"{shutil.disk_usage('.').free / 2**30:.0f} GiB",
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "no CUDA GPU",
        "C++ compiler": compiler,
    }


@contextmanager
def expect_error(*types: type[BaseException], match: str = "") -> Iterator[None]:
    """Run code that must fail, and print its error as ``Type: message``.

    Args:
        types: the error types that may come; any other error, or none, is an error here.
        match: a regular expression; only the part of the message it matches is printed.

    Raises:
        AssertionError: nothing was raised, or the message does not match.
    """
    try:
        yield
    except types as error:
        text = _clean(str(error))
        found = re.search(match or r"(?s).*", text)
        assert found, f"the message does not match {match!r}: {text}"
        name = f"{type(error).__name__}: " if text else type(error).__name__
        for line in (name + found.group()).splitlines():
            print(textwrap.fill(line, 100, subsequent_indent="  "))
    else:
        raise AssertionError(f"expected {' or '.join(t.__name__ for t in types)}, got no error")


def show_table(rows: Iterable[Sequence[object]], headers: Sequence[str]) -> None:
    """Show rows as a table: HTML in a notebook, aligned text elsewhere."""
    display(Table(rows, headers))


def progress(items: Sequence[T], label: str) -> Iterator[T]:
    """Iterate with a progress bar that is gone at the end and leaves no output to compare."""
    handle = display(HTML(""), display_id=True)
    for done, item in enumerate(items):
        handle.update(HTML(f"{html.escape(label)} {_bar(done, len(items))}"))
        yield item
    handle.update(HTML(""))


def _bar(done: int, total: int) -> str:
    return f'<progress value="{done}" max="{total}"></progress> {done} of {total}'


def _clean(message: str) -> str:
    """Drop terminal colours and this machine's folder from an error message."""
    message = re.sub(r"\x1b\[[0-9;]*m", "", message)
    return message.replace(f"{Path.cwd()}/", "").strip()
