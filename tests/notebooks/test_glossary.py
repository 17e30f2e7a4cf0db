import re

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from course_utils.authoring.contents import LESSONS
from course_utils.authoring.glossary import link_words, words
from course_utils.authoring.notebooks import NOTEBOOKS, SOURCES, read

TERMS = words(SOURCES / "glossary.py")


def linked(*sources, terms=("storage", "meta device", "rank")):
    notebook = new_notebook(cells=[new_markdown_cell(source) for source in sources])
    link_words(notebook, list(terms))
    return [cell.source for cell in notebook.cells]


def test_the_first_use_is_linked_and_no_other():
    assert linked("A storage, a storage", "a storage") == [
        "A [storage](glossary.ipynb#storage), a storage", "a storage",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "# A storage", "| storage |", "`a storage`", "[a storage](x.ipynb)", "restorage",
        "<details><summary>a storage</summary>", "```python\nstorage = 1\n```", "storage-like",
    ],
)  # fmt: skip
def test_what_is_no_plain_text_is_left_alone(text):
    assert linked(text) == [text]


def test_words_of_two_parts_keep_their_case():
    assert linked("The Meta device and a rank") == [
        "The [Meta device](glossary.ipynb#meta-device) and a [rank](glossary.ipynb#rank)"
    ]


def test_a_word_that_is_code_and_one_across_lines():
    assert linked("`rank` or a meta\ndevice") == [
        "[`rank`](glossary.ipynb#rank) or a [meta\ndevice](glossary.ipynb#meta-device)"
    ]


def test_code_is_not_touched():
    notebook = new_notebook(cells=[new_code_cell("# storage")])
    link_words(notebook, ["storage"])
    assert notebook.cells[0].source == "# storage"


def test_every_word_is_linked_from_a_lesson():
    texts = [
        cell.source
        for lesson in LESSONS
        for cell in read(NOTEBOOKS / f"{lesson.slug}.ipynb").cells
        if cell.cell_type == "markdown"
    ]
    targets = set(re.findall(r"\(glossary\.ipynb#([^)]+)\)", "\n".join(texts)))
    assert targets == {term.replace(" ", "-") for term in TERMS}


def test_the_page_has_each_word_once():
    cells = nbformat.read(NOTEBOOKS / "glossary.ipynb", 4).cells
    shown = re.findall(r"^### (.+)$", "\n".join(cell.source for cell in cells), re.M)
    assert sorted(shown) == sorted(set(TERMS))
