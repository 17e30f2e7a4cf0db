"""Turns whatever a student handed in into a clean notebook: sources, and released metadata only."""

import copy
import json
import os
import re
import stat
import unicodedata
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell

MAX_BYTES = 20 * 2**20  # of the file; pictures in its outputs take the most
MAX_SOURCE = 2 * 2**20  # characters in all cells
MAX_CELLS = 1000

# Terminal escapes: of colour and place (CSI), of titles and links (OSC), and the short ones.
ESCAPES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[ -/]*[0-~]"
)
CONTROLS = re.compile(r"[\x00-\x08\x0b-\x0c\x0e-\x1f\x7f-\x9f]")

NOTE = "**A note from the grader.**"


class UnreadableSubmissionError(ValueError):
    """The file is no notebook; the message says why, for the student."""


def clean(data: bytes, released: NotebookNode) -> tuple[NotebookNode, list[str]]:
    """Return a notebook that nbgrader takes, and notes on what was wrong with the file.

    The notes stand in the notebook's first cell, too.

    Outputs, identifiers and all metadata are dropped, but for nbgrader's, which are copied from
    the released notebook: a student can change neither points nor kind of a cell. Check cells
    get their released text; of a cell that is there twice, the last counts; one that is missing
    comes back at the end.

    Args:
        data: the file handed in.
        released: the notebook as students got it.
    """
    try:
        submitted = _read(data)
    except UnreadableSubmissionError as error:
        return refuse(str(error), released)
    notes = _kernel_notes(submitted)
    notebook = _skeleton(released)
    originals = {_grade_id(cell): cell for cell in released.cells if _grade_id(cell)}
    for cell in reversed(submitted["cells"]):
        original = originals.pop(_grade_id(cell), None)
        notebook.cells.insert(0, _clean_cell(cell, original))
    lost = [cell for cell in originals.values() if cell.metadata.nbgrader["grade"]]
    notebook.cells += copy.deepcopy(lost)
    if lost:
        names = ", ".join(f"`{_first_line(cell)}`" for cell in lost)
        notes.append(f"A check that was missing is put back at the end: {names}.")
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"
    _note(notebook, notes)
    return notebook, notes


def read_ordinary(path: Path, limit: int = MAX_BYTES + 1) -> bytes:
    """Read an ordinary file: no link to another's work, no pipe that never ends.

    Raises:
        OSError: it is none, or cannot be read; ``strerror`` says why.
    """
    if path.parent.is_symlink():
        raise OSError(0, "it is not an ordinary file")
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(0, "it is not an ordinary file")
        with os.fdopen(fd, "rb", closefd=False) as file:
            return file.read(limit)
    finally:
        os.close(fd)


def refuse(reason: str, released: NotebookNode) -> tuple[NotebookNode, list[str]]:
    """Return the released notebook, and the note in it: why the student's was not graded."""
    notebook = copy.deepcopy(released)
    notes = [f"Your file could not be graded: {reason}"]
    _note(notebook, notes)
    return notebook, notes


def _read(data: bytes) -> NotebookNode:
    if not data.strip():
        raise UnreadableSubmissionError("it is empty.")
    if len(data) > MAX_BYTES:
        raise UnreadableSubmissionError(f"it is larger than {MAX_BYTES / 2**20:.0f} MB.")
    try:
        notebook = nbformat.from_dict(json.loads(data.decode("utf-8-sig")))
        notebook = notebook if notebook["nbformat"] == 4 else nbformat.convert(notebook, 4)
        sources = [_source(cell) for cell in notebook["cells"]]
    except Exception as error:  # anything may be in it
        said = f"{type(error).__name__}: {error}"[:200]
        raise UnreadableSubmissionError(
            f"it is not a Jupyter notebook, or only a part of one ({said})."
        ) from None
    if len(sources) > MAX_CELLS or sum(map(len, sources)) > MAX_SOURCE:
        raise UnreadableSubmissionError("it has too many cells, or too much text in them.")
    return notebook


def _skeleton(released: NotebookNode) -> NotebookNode:
    notebook = copy.deepcopy(released)
    notebook.cells = []
    return notebook


def _clean_cell(cell: NotebookNode, original: NotebookNode | None) -> NotebookNode:
    if original is None:
        # A raw cell would go into the feedback page as it is, scripts included.
        if cell.get("cell_type") == "code":
            return new_code_cell(_source(cell))
        return new_markdown_cell(_not_the_graders(_source(cell)))
    cleaned = copy.deepcopy(original)
    if original.metadata.nbgrader["solution"]:
        cleaned.source = _source(cell)
    return cleaned


def _not_the_graders(source: str) -> str:
    """A note from the grader that a student wrote is shown as what it is."""
    plain = unicodedata.normalize("NFKC", source).casefold()
    looks_like_one = "note from the grader" in re.sub(r"[^a-z]+", " ", plain)
    return (
        f"*Written in the notebook, not by the grader:*\n\n{source}" if looks_like_one else source
    )


def _source(cell: NotebookNode) -> str:
    source = cell["source"]
    text = source if isinstance(source, str) else "".join(source)
    return without_controls(text)


def without_controls(text: str) -> str:
    """Return a text that any page can show: no terminal escapes, no control characters.

    Half of a surrogate pair, which cannot be written, becomes a question mark.
    """
    text = ESCAPES.sub("", text).encode("utf-8", "replace").decode()
    return CONTROLS.sub("\N{REPLACEMENT CHARACTER}", text)


def _grade_id(cell: NotebookNode) -> str:
    try:
        return str(cell["metadata"]["nbgrader"]["grade_id"])
    except (KeyError, TypeError):
        return ""


def _kernel_notes(notebook: NotebookNode) -> list[str]:
    try:
        language = str(notebook["metadata"]["kernelspec"]["language"])
    except (KeyError, TypeError):
        return []
    if language.lower() == "python":
        return []
    return [f"The notebook asks for a {language[:40]!r} kernel. It was run with Python."]


def _first_line(cell: NotebookNode) -> str:
    return cell.source.strip().partition("\n")[0]


def _note(notebook: NotebookNode, notes: list[str]) -> None:
    if notes:
        cell = new_markdown_cell("\n\n".join([NOTE, *notes]), id="note")
        notebook.cells.insert(0, cell)
