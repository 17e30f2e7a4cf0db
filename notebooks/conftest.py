"""For nbval: lesson 10 needs the frameworks, and is compared only where they are installed."""

from importlib.util import find_spec

NEEDED = ("lightning", "accelerate", "transformers")
MISSING = [name for name in NEEDED if find_spec(name) is None]
collect_ignore = ["10_your_frameworks_checkpoint.ipynb"] if MISSING else []


def pytest_report_header() -> str:
    """Say what is left out."""
    return f"lesson 10 is left out, without {', '.join(MISSING)}" if MISSING else ""
