"""Repairs what the theme and myst-nb leave hard to use with a screen reader or by keyboard."""

import re
from pathlib import Path

REPAIRS = (
    # A heading has a level.
    (r'(<p class="caption" role="heading")>', r'\1 aria-level="2">'),
    # What is read aloud is what is seen.
    (r'<summary aria-label="[^"]*">', "<summary>"),
    # What scrolls can be reached without a mouse.
    (
        r'<(pre\b|div class="(?:output text_html|table-wrapper[^"]*)")(?![^>]*tabindex)',
        r'<\1 tabindex="0"',
    ),
)


def repair(folder: Path) -> None:
    """Repair all pages in a folder."""
    for path in folder.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        for found, better in REPAIRS:
            text = re.sub(found, better, text)
        path.write_text(text, encoding="utf-8")
