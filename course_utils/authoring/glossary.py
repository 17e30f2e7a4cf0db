"""Links a lesson's words to the glossary: each word once, where the lesson first uses it."""

import re
from pathlib import Path

from nbformat import NotebookNode

PAGE = "glossary.ipynb"
# What is no plain text: code, headings, tables, folded questions, links, HTML.
_PROTECTED = re.compile(
    r"(^```.*?^```|^#.*?$|^\|.*?$|<summary>.*?</summary>|\[[^\]]*\]\([^)]*\)|`[^`]*`|<[^>]*>)",
    re.M | re.S,
)


def words(source: Path) -> list[str]:
    """Return the glossary's words, longest first, from the page's source."""
    found = re.findall(r"^# ### (.+)$", source.read_text(encoding="utf-8"), re.M)
    return sorted(found, key=len, reverse=True)


def link_words(notebook: NotebookNode, terms: list[str]) -> None:
    """Link the first use of each word, in place; also where the word itself stands as code."""
    left = list(terms)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            for term in list(left):
                text = _link(cell.source, term)
                if text != cell.source:
                    cell.source = text
                    left.remove(term)


def _link(text: str, term: str) -> str:
    """Return a text with the first use of a word as a link, or the text as it is."""
    pattern = re.compile(rf"(?<![\w-]){re.escape(term)}s?(?![\w-])".replace(r"\ ", r"\s"), re.I)
    as_code = re.compile(f"^`{re.escape(term)}`$")
    pieces = _PROTECTED.split(text)
    for number, piece in enumerate(pieces):
        found = (as_code if number % 2 else pattern).search(piece)
        if found:
            link = f"[{found[0]}]({PAGE}#{term.replace(' ', '-')})"
            pieces[number] = piece[: found.start()] + link + piece[found.end() :]
            return "".join(pieces)
    return text
