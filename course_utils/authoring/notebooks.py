"""One way only: a percent-format source becomes a notebook, is run, and is written whole."""

import hashlib
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode

from course_utils.authoring.contents import LESSONS, bar
from course_utils.authoring.glossary import link_words, words

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
SOURCES = NOTEBOOKS / "source"
CELL_SECONDS = 300


class LessonError(RuntimeError):
    """A cell of a lesson failed."""


def all_sources() -> list[Path]:
    """Return the sources of every lesson and exercise, lessons first."""
    return [*sorted(SOURCES.glob("*.py")), *sorted(SOURCES.glob("exercises/*.py"))]


def all_notebooks() -> list[Path]:
    """Return the built lessons and exercises, lessons first."""
    return [*sorted(NOTEBOOKS.glob("*.ipynb")), *sorted(NOTEBOOKS.glob("exercises/*.ipynb"))]


def target_of(source: Path) -> Path:
    """Return the notebook that a source becomes."""
    return NOTEBOOKS / source.resolve().relative_to(SOURCES).with_suffix(".ipynb")


def convert(source: Path) -> NotebookNode:
    """Return a source as a notebook that has not been run, with stable cell ids.

    Below the title and at the end stands the bar with previous, contents and next. In lessons
    the words of the glossary are linked.
    """
    notebook = jupytext.read(source, fmt="py:percent")
    if source.resolve() in {SOURCES / f"{lesson.slug}.py" for lesson in LESSONS}:
        link_words(notebook, words(SOURCES / "glossary.py"))
    _add_bar(notebook, bar(source.stem, up="" if source.resolve().parent == SOURCES else "../"))
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {
                "display_name": "Python 3",
                "language": "python",
                "name": "python3",
            },
            "language_info": {"name": "python"},
        }
    )
    seen: dict[str, int] = {}
    for cell in notebook.cells:
        cell.id = _stable_id(cell, seen)
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    return notebook


def execute(notebook: NotebookNode, folder: Path) -> None:
    """Run a notebook's cells in a fresh kernel, in place.

    Args:
        notebook: the notebook; its outputs are replaced.
        folder: the kernel's working directory.

    Raises:
        LessonError: a cell failed that is not tagged ``raises-exception``.
    """
    metadata = notebook.metadata.copy()
    client = NotebookClient(
        notebook,
        timeout=CELL_SECONDS,
        record_timing=False,
        coalesce_streams=True,
        extra_arguments=["--log-level=ERROR"],  # not what the terminal of a build is for
        resources={"metadata": {"path": str(folder)}},
    )
    try:
        client.execute()
    except CellExecutionError as error:
        raise LessonError(str(error)) from None
    notebook.metadata = metadata  # the kernel adds its exact Python version


def build(source: Path) -> Path:
    """Convert, run and write one notebook; return where it is."""
    target = target_of(source)
    notebook = convert(source)
    try:
        execute(notebook, target.parent)
    except LessonError as error:
        raise LessonError(f"{source.name}: {error}") from None
    target.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")
    return target


def is_current(source: Path) -> bool:
    """Whether the notebook holds exactly its source's cells."""
    target = target_of(source)
    return target.exists() and cells_of(convert(source)) == cells_of(read(target))


def read(notebook: Path) -> NotebookNode:
    """Read a notebook file."""
    return nbformat.read(notebook, as_version=4)


def cells_of(notebook: NotebookNode) -> list[tuple[str, str, str, dict[str, object]]]:
    """Return what an author wrote: each cell's id, type, text and metadata."""
    return [(cell.id, cell.cell_type, cell.source, dict(cell.metadata)) for cell in notebook.cells]


def _add_bar(notebook: NotebookNode, links: str) -> None:
    title, _, rest = notebook.cells[0].source.partition("\n")
    notebook.cells[0].source = f"{title}\n\n{links}\n{rest}"
    notebook.cells.append(nbformat.v4.new_markdown_cell(links))


def _stable_id(cell: NotebookNode, seen: dict[str, int]) -> str:
    """Name a cell by its content, so that an edit elsewhere leaves its id alone."""
    digest = hashlib.sha256(f"{cell.cell_type}\n{cell.source}".encode()).hexdigest()[:12]
    seen[digest] = seen.get(digest, 0) + 1
    return digest if seen[digest] == 1 else f"{digest}-{seen[digest]}"
