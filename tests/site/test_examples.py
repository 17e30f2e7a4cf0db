"""The examples on the pages of the package's names print what they say."""

import doctest
from pathlib import Path

import pytest

PAGES = sorted((Path(__file__).resolve().parents[2] / "site" / "api").glob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_examples(page):
    failed, tried = doctest.testfile(str(page), module_relative=False)
    assert failed == 0
    assert tried or page.stem in ("index", "distributed")  # which starts processes


def test_every_wing_has_a_page():
    import course_utils

    wings = {path.stem for path in PAGES} - {"index"}
    assert set(course_utils._NAMES.values()) <= wings
