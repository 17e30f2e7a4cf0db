"""Every cell can be run twice in a row, says the same again, and leaves nothing in the end.

Run by ``make torture``.
"""

import copy

import pytest

from course_utils.authoring.contents import LESSONS
from course_utils.authoring.notebooks import SOURCES, all_sources, convert, execute, target_of

pytestmark = pytest.mark.torture
AGAIN = "again"


def doubled(notebook):
    """Return a notebook with each code cell standing there twice."""
    cells = []
    for cell in notebook.cells:
        cells.append(cell)
        if cell.cell_type == "code":
            second = copy.deepcopy(cell)
            second.id = f"{cell.id}-{AGAIN}"
            cells.append(second)
    notebook.cells = cells
    return notebook


def said(cell):
    """What a cell printed and showed as text; a progress bar shows nothing in the end."""
    texts = [o.text if o.output_type == "stream" else o.data["text/plain"] for o in cell.outputs]
    return [text for text in texts if "IPython.core.display" not in text]


@pytest.mark.parametrize("source", all_sources(), ids=lambda s: str(s.relative_to(SOURCES)))
def test_every_cell_says_the_same_again(source):
    notebook = doubled(convert(source))
    execute(notebook, target_of(source).parent)
    codes = [cell for cell in notebook.cells if cell.cell_type == "code"]
    different = [
        f"{first.source}\n--- said\n{said(first)}\n--- and again\n{said(second)}"
        for first, second in zip(codes[::2], codes[1::2], strict=True)
        if "nbval-ignore-output" not in first.metadata.get("tags", [])
        and said(first) != said(second)
    ]
    assert not different, "\n\n".join(different)
    if source.stem in {lesson.slug for lesson in LESSONS} and source.parent == SOURCES:
        scratch = target_of(source).parent / "scratch" / source.stem
        assert not scratch.exists(), "the lesson leaves files behind"
