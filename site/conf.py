"""Sphinx's settings. The sources are laid together by `build.py`, which also says what runs."""

import re
from pathlib import Path

import course_utils

project = "Saving and loading PyTorch models"
author = "the course's authors"
version = release = course_utils.__version__
REPOSITORY = ""  # its address, once it has one: then pages link to it

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["explorer", "download", "_templates"]
source_suffix = {".md": "myst-nb", ".ipynb": "myst-nb"}
root_doc = "index"
language = "en"
nitpicky = False

nb_execution_mode = "off"  # the notebooks come executed
nb_merge_streams = True
nb_ipywidgets_js = {}  # from another host
myst_heading_anchors = 3
# The course's tables count from the second level; a cell may begin with a third.
suppress_warnings = ["myst.header", "mystnb.unknown_mime_type", "misc.highlighting_failure"]

default_role = "literal"
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
napoleon_use_rtype = False
napoleon_use_ivar = True  # attributes as a list, not three lines each

html_theme = "furo"
html_title = f"Saving and loading PyTorch models {version}"
html_static_path = ["_static"]
templates_path = ["_templates"]
html_css_files = ["course.css"]
html_search_scorer = str(Path(__file__).with_name("scorer.js"))
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
html_theme_options = {"source_repository": REPOSITORY} if REPOSITORY else {}
pygments_style = "a11y-high-contrast-light"
pygments_dark_style = "a11y-high-contrast-dark"


def setup(app):
    """Leave out what Python itself says of a named tuple's fields, and what is private."""

    def skip(app, what, name, member, skip, options):
        return skip or str(getattr(member, "__doc__", "")).startswith("Alias for field number")

    def promised(app, what, name, obj, options, signature, returns):
        return signature and re.sub(r"(, \*)?, _\w+: .*\)", ")", signature), returns

    app.connect("autodoc-skip-member", skip)
    app.connect("autodoc-process-signature", promised)
