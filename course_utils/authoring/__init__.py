"""Builds the notebooks from their sources; no lesson imports it."""

from course_utils.extras import require

require("test", "jupytext", "nbclient", "nbformat")
