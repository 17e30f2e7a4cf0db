"""A class: releases assignments, takes in what comes, grades it, and keeps nbgrader's gradebook."""

import importlib
import sys

# jsonschema, which nbformat needs, builds a parser of web addresses when it finds the package for
# one: more than a second of every command, for a check that no notebook's schema asks for.
_ADDRESSES = "rfc3987_syntax"

if "jsonschema" not in sys.modules and _ADDRESSES not in sys.modules:
    sys.modules[_ADDRESSES] = None  # type: ignore[assignment]
    try:
        importlib.import_module("nbformat")
    finally:
        del sys.modules[_ADDRESSES]
