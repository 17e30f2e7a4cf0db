"""Tables read well as text, and escape what they show as HTML."""

import re

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


def test_numbers_go_right_and_words_left():
    shown = Table([("a", "1,024", "3 %"), ("b", "", "x")], ["name", "bytes", "part"])._repr_html_()
    sides = re.findall(r'<t[hd] style="text-align:(\w+)">', shown)
    assert sides == ["left", "right", "left"] * 3


def test_a_table_without_rows_shows_its_headers():
    assert str(Table([], ["name", "bytes"])) == "name  bytes"


def test_a_short_row_is_an_error():
    with pytest.raises(ValueError, match="zip"):
        str(Table([("only one",)], ["name", "bytes"]))


def test_wide_letters_count_as_two_places():
    lines = str(Table([("層.重み", 1), ("weight", 2)], ["name", "n"])).splitlines()
    assert lines == ["name     n", "層.重み  1", "weight   2"]


def test_what_a_terminal_would_obey_is_spelled_out():
    text = str(Table([("\x1b]0;title\x07", "a\rb\nc"), ("\u202egnp", "")], ["name", "n"]))
    assert text.splitlines()[1:] == ["\\x1b]0;title\\x07  a\\rb\\nc", "\\u202egnp"]


@pytest.mark.parametrize("cell", ["word " * 30, "x" * 150, "層" * 80, "  indented words " * 9])
def test_a_table_fits_and_loses_nothing(cell):
    text = Table([("key", cell, "short")], ["name", "found", "n"]).text(60)
    from rich.cells import cell_len

    assert max(map(cell_len, text.splitlines())) <= 60
    middle = [line[5:-7] if "short" in line else line[5:] for line in text.splitlines()[1:]]
    assert "".join("".join(middle).split()) == "".join(cell.split())


def test_a_table_that_fits_is_left_alone():
    table = Table([("a", "b c")], ["x", "y"])
    assert table.text(60) == str(table)
    assert Table([("a" * 9, "b" * 9, "c" * 9)], "xyz").text(3).count("\n") > 1  # gives up politely
