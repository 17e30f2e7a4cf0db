"""Markdown that students wrote, as HTML that neither runs nor paints over anything."""

import nh3
from nbconvert.filters import markdown2html

TAGS = {
    *("h1", "h2", "h3", "h4", "h5", "h6", "p", "br", "hr", "div", "span", "blockquote", "a"),
    *("b", "i", "s", "strong", "em", "del", "sub", "sup", "abbr", "code", "pre"),
    *("ul", "ol", "li", "dl", "dt", "dd"),
    *("table", "caption", "thead", "tbody", "tr", "th", "td"),
}
# No class, style or id: with those of the page itself a student could paint a box with points.
ATTRIBUTES = {"a": {"href", "title"}}
SCHEMES = {"http", "https", "mailto"}


def safe_markdown(source: str) -> str:
    """Render Markdown; tags, attributes and link schemes that are not harmless are taken out.

    It stands in the place of nbconvert's filter ``markdown2html`` on nbgrader's pages. All of it
    stands in a frame of its own, so that nobody takes it for the page's.
    """
    html = nh3.clean(markdown2html(source), tags=TAGS, attributes=ATTRIBUTES, url_schemes=SCHEMES)
    return f'<div style="border-left: 2px solid #bbb; padding-left: 1em">{html}</div>'
