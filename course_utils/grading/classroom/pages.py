"""Pages for students: the Markdown that they wrote neither runs nor paints over anything."""

from typing import Any, ClassVar

import nh3
from nbconvert.exporters import HTMLExporter, TemplateExporter
from nbconvert.filters import Highlight2HTML, markdown2html
from nbformat import NotebookNode

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


class FeedbackPage(HTMLExporter):
    """nbconvert's page without its second reading of the page, which took half of the time.

    That one looks for pictures without a description; `safe_markdown` lets no picture through,
    and a sandbox returns text only. The templates are compiled once, not for each lesson anew.
    """

    _environments: ClassVar[dict[tuple[str, ...], Any]] = {}

    def _create_environment(self) -> Any:
        """Return nbconvert's, or the one made before for such a page, with this page's filters."""
        new = super()._create_environment()
        how = sorted(f"{name}: {which}" for name, which in self.filters.items())
        kept = self._environments.setdefault((*self.template_paths, *how), new)
        kept.filters = new.filters
        return kept

    def from_notebook_node(  # type: ignore[override]
        self, nb: NotebookNode, resources: dict[str, Any] | None = None, **kw: Any
    ) -> tuple[str, dict[str, Any]]:
        """Return a notebook as HTML, and nbconvert's resources."""
        self.register_filter("highlight_code", Highlight2HTML(parent=self))
        resources = self._init_resources(resources)
        return TemplateExporter.from_notebook_node(self, nb, resources, **kw)
