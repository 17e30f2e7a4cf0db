"""What every lesson uses: a clean start, package code on show, errors and tables to read.

All output is the same on every machine, so that CI can compare it.
"""

import ast
import html
import inspect
import os
import platform
import re
import shutil
import textwrap
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import torch
from IPython.display import HTML, display
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import CppLexer, PythonLexer

from course_utils.resume.rng import seed_everything
from course_utils.tables import Table

T = TypeVar("T")
_NAMED = ast.FunctionDef | ast.ClassDef


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


def finish(scratch: Path) -> None:
    """Give the disk back what the lesson wrote: its scratch folder is removed."""
    shutil.rmtree(scratch, ignore_errors=True)
    print(f"{scratch.as_posix()} is gone. The lesson's first cell makes it again.")


def fresh(path: Path) -> Path:
    """Return a path at which nothing is: what a cell wrote there when it ran before is removed."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    return path


def show_source(*objects: Callable[..., Any] | type) -> None:
    """Show the package's own code of functions or classes, so text and code cannot drift."""
    for thing in objects:
        display(Code(textwrap.dedent(inspect.getsource(thing)), thing.__module__))


def show_source_of(module: str, *names: str) -> None:
    """Show functions and classes of a module without importing it, which may take long.

    Args:
        module: its dotted name; only the package above it is imported.
        names: what to show.
    """
    spec = find_spec(module)
    assert spec is not None, f"there is no {module}"
    assert spec.origin is not None
    text = Path(spec.origin).read_text(encoding="utf-8")
    found = {node.name: node for node in ast.parse(text).body if isinstance(node, _NAMED)}
    for name in names:
        display(Code(ast.get_source_segment(text, found[name]) or "", module))


class Code:
    """Code to read, highlighted; long lines scroll. A light card: the same in both themes.

    Args:
        text: the code.
        source: where it stands, shown above it.
        cpp: whether it is C++ and not Python.
    """

    def __init__(self, text: str, source: str, *, cpp: bool = False) -> None:
        self.text, self.source, self.cpp = text.strip("\n"), source, cpp

    def __repr__(self) -> str:
        return f"{self.source}\n\n{self.text}"

    def _repr_html_(self) -> str:
        shown = HtmlFormatter(
            noclasses=True,
            cssstyles="background:#FBFBF9; overflow-x:auto; padding:0.6em; border-radius:4px",
            prestyles="margin:0; color:#222222; background:none; white-space:pre; "
            "word-break:normal; overflow-wrap:normal; line-height:130%",
        )
        lexer = CppLexer() if self.cpp else PythonLexer()
        body = highlight(self.text, lexer, shown)
        return f"<div><code>{html.escape(self.source)}</code>{body}</div>"


@contextmanager
def show_warnings(width: int = 100) -> Iterator[None]:
    """Run code and print the warnings that come, whole, as ``Category: message``."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for warning in caught:
        print_folded(f"{warning.category.__name__}: {_clean(str(warning.message))}", width)


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
    """Run code that must fail, and print its error, whole, as ``Type: message``.

    Args:
        types: the error types that may come; any other error, or none, is an error here.
        match: a regular expression that must be found in the message.

    Raises:
        AssertionError: nothing was raised, or the message does not match.
    """
    try:
        yield
    except types as error:
        # str() of a KeyError is the repr of its message.
        text = _clean(str(error.args[0] if isinstance(error, KeyError) else error))
        assert re.search(match, text), f"the message does not match {match!r}: {text}"
        print_folded(f"{type(error).__name__}: {text}" if text else type(error).__name__)
    else:
        raise AssertionError(f"expected {' or '.join(t.__name__ for t in types)}, got no error")


def print_folded(text: str, width: int = 100) -> None:
    """Print a text in lines that fit the page: JupyterLab breaks longer ones within words."""
    for line in text.splitlines():
        print(textwrap.fill(line, width, subsequent_indent="  ", break_on_hyphens=False))


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
    """Drop terminal colours, C++ frames and this machine's folders from an error message."""
    message = re.sub(r"\x1b\[[0-9;]*m", "", message)
    message = message.partition("\nException raised from ")[0]
    for folder in (Path.cwd(), Path(__file__).resolve().parents[2]):
        message = message.replace(f"{folder}/", "")
    return re.sub(r"\n{3,}", "\n\n", message).strip()
