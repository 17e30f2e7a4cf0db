"""Tables read well as text, and escape what they show as HTML."""

import pytest

from course_utils.tables import Table


def test_text_is_aligned():
    table = Table([("head.weight", 1280), ("x", "")], ["name", "bytes"])
    assert str(table) == "name         bytes\nhead.weight  1280\nx"


def test_html_escapes_cells():
    html = Table([("<script>", 1)], ["a & b", "n"])._repr_html_()
    assert "&lt;script&gt;" in html
    assert "a &amp; b" in html
    assert "<script>" not in html


def test_a_table_without_rows_shows_its_headers():
    assert str(Table([], ["name", "bytes"])) == "name  bytes"


def test_a_short_row_is_an_error():
    with pytest.raises(ValueError, match="zip"):
        str(Table([("only one",)], ["name", "bytes"]))
