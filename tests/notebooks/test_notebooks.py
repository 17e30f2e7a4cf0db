"""What a built notebook must be; that its outputs still come is nbval's part."""

import getpass
import re

import pytest

from course_utils.authoring.notebooks import (
    all_notebooks,
    all_sources,
    cells_of,
    convert,
    read,
    target_of,
)

# Where a machine or a person shows through. A lesson that shows such a path makes it relative.
PRIVATE = re.compile(
    r"/home/|/Users/|/root/|/work/|/tmp/|/private/var|site-packages/|[A-Z]:\\\\Users|ipykernel_\d+"
)
WARNING = re.compile(r"\b\w*Warning: ")

SOURCES = {
    source.stem if source.parent.name == "source" else f"exercises/{source.stem}": source
    for source in all_sources()
}
NOTEBOOKS = {target_of(source): name for name, source in SOURCES.items()}


@pytest.fixture(params=SOURCES, scope="module")
def lesson(request):
    return request.param


@pytest.fixture(scope="module")
def notebook(lesson):
    return read(target_of(SOURCES[lesson]))


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def output_texts(cell):
    """Every text an output holds, image bytes left out."""
    for output in cell.outputs:
        if output.output_type == "stream":
            yield output.text
        elif output.output_type == "error":
            yield "\n".join([output.evalue, *output.traceback])
        else:
            yield from (re.sub(r"base64,[\w+/=]+", "", str(v)) for v in output.data.values())


def test_every_notebook_has_a_source():
    assert set(all_notebooks()) == set(NOTEBOOKS)


def test_cells_equal_the_source(lesson, notebook):
    assert cells_of(notebook) == cells_of(convert(SOURCES[lesson])), "run `make build`"


def test_every_cell_was_run_once_and_in_order(notebook):
    counts = [cell.execution_count for cell in code_cells(notebook)]
    assert counts == list(range(1, len(counts) + 1))


def test_no_output_shows_a_machine_or_a_person(notebook):
    for cell in code_cells(notebook):
        for text in output_texts(cell):
            assert not PRIVATE.search(text), f"{PRIVATE.search(text)} in: {cell.source}"
            user = getpass.getuser()
            assert user == "root" or not re.search(rf"\b{user}\b", text), cell.source


def test_no_output_is_a_stray_warning(notebook):
    for cell in code_cells(notebook):
        for output in cell.outputs:
            if output.output_type == "stream" and output.name == "stderr":
                assert "expect-warning" in cell.metadata.get("tags", []), output.text
                assert WARNING.search(output.text)


def test_every_picture_has_alternative_text_and_caption(notebook):
    for cell in code_cells(notebook):
        for output in cell.outputs:
            data = output.get("data", {})
            assert "image/png" not in data, f"show it with plots.show: {cell.source}"
            for image in re.findall(r"<img[^>]*>", data.get("text/html", "")):
                alt = re.search(r'alt="([^"]+)"', image)
                assert alt, cell.source
                assert len(alt.group(1)) > 20, f"say what the picture shows: {alt.group(1)}"
                assert "<figcaption>" in data["text/html"]


def test_every_picture_has_its_numbers_beside_it(notebook):
    """The cell that draws, or a neighbour, prints numbers: nbval cannot check an image."""
    cells = code_cells(notebook)
    for index, cell in enumerate(cells):
        if "<img" not in str(cell.outputs):
            continue
        nearby = cells[max(0, index - 1) : index + 2]
        texts = [t for near in nearby for t in output_texts(near) if "<img" not in t]
        texts = [t for t in texts if not t.startswith("Figure: ")]
        assert any(re.search(r"\d", text) for text in texts), cell.source
