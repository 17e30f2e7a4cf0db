"""Every page of the built site: nothing broken, nothing foreign, nothing hard to read.

``make site`` builds it; `test_reading.py` looks at it in a browser.
"""

import re
from urllib.parse import urlsplit

import pytest
from site_files import BUILT, ROOT, broken, page, pages

LARGEST = 25 * 10**6  # bytes of the whole site

pytestmark = pytest.mark.skipif(
    not (BUILT / "index.html").exists(), reason="needs the built site: `make site`"
)


def names():
    return [path.relative_to(BUILT).as_posix() for path in pages()]


def test_every_part_of_the_course_has_a_page():
    found = set(names())
    for notebook in (ROOT / "notebooks").rglob("*.ipynb"):
        if "scratch" not in notebook.parts and notebook.parent.name in ("notebooks", "exercises"):
            name = notebook.relative_to(ROOT).with_suffix(".html").as_posix()
            assert name in found
    assert {"index.html", "search.html", "CONTRIBUTING.html", "CHANGELOG.html"} <= found


@pytest.mark.parametrize("name", names())
def test_no_link_inside_is_broken_and_nothing_is_loaded_from_elsewhere(name):
    assert broken(BUILT / name) == []
    assert [source for source in page(BUILT / name).loads if urlsplit(source).netloc] == []


def test_no_style_sheet_names_another_host():
    elsewhere = re.compile(r"(?:url\(|@import)\s*['\"]?\s*(?:https?:)?//")
    for path in BUILT.rglob("*.css"):
        assert not elsewhere.search(path.read_text(encoding="utf-8")), path.name


def test_the_site_is_small():
    assert sum(path.stat().st_size for path in BUILT.rglob("*") if path.is_file()) < LARGEST


def test_no_answer_stands_open_below_a_question():
    """What a learner shall predict is folded; solutions are not on the site at all."""
    asked = 0
    for path in pages():
        text = path.read_text(encoding="utf-8")
        for part in text.split("<strong>Predict.</strong>")[1:]:
            part = part.partition("<section")[0]
            cells = re.split(r'(?=<div class="cell [^"]*docutils container">)', part)[1:]
            for cell in [cell for cell in cells if "cell_output" in cell][:1]:
                asked += 1
                assert "tag_hide-output" in cell.partition(">")[0], path.name
    assert asked > 10


def test_code_that_a_lesson_shows_has_the_colours_of_the_page():
    """In the dark theme, too: none of its own."""
    shown = 0
    for path in pages():
        text = path.read_text(encoding="utf-8")
        assert 'class="highlight" style' not in text, path.name
        shown += len(re.findall(r'<code>course_utils\.[\w.]+</code><div class="highlight"', text))
    assert shown > 10
