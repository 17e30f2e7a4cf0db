"""Turns whatever a student handed in into a clean notebook: sources, and released metadata only."""

import copy
import json

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell

MAX_BYTES = 20 * 2**20  # of the file; pictures in its outputs take the most
MAX_SOURCE = 2 * 2**20  # characters in all cells
MAX_CELLS = 1000

NOTE = "**A note from the grader.**"


class UnreadableSubmissionError(ValueError):
    """The file is no notebook; the message says why, for the student."""


def clean(data: bytes, released: NotebookNode) -> NotebookNode:
    """Return a notebook that nbgrader takes, with a note on what was wrong with the file.

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
        notebook = _skeleton(released)
        notebook.cells = copy.deepcopy(released.cells)
        _note(notebook, [f"Your file could not be graded: {error}"])
        return notebook
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
    return notebook


def refuse(reason: str, released: NotebookNode) -> NotebookNode:
    """Return the released notebook with a note why the student's was not graded."""
    notebook = copy.deepcopy(released)
    _note(notebook, [f"Your file could not be graded: {reason}"])
    return notebook


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
        make = new_code_cell if cell.get("cell_type") == "code" else new_markdown_cell
        return make(_source(cell))
    cleaned = copy.deepcopy(original)
    if original.metadata.nbgrader["solution"]:
        cleaned.source = _source(cell)
    return cleaned


def _source(cell: NotebookNode) -> str:
    source = cell["source"]
    text = source if isinstance(source, str) else "".join(source)
    return text.encode("utf-8", "replace").decode()  # half of a surrogate pair cannot be written


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
