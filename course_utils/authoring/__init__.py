"""Builds the notebooks from their sources; no lesson imports it."""
