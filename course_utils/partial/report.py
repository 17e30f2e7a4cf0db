"""The report of a partial load, as text and as an HTML table."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from course_utils.tables import Table

Shape = tuple[int, ...]
SHOWN = 4  # names per row of the table; the attributes hold them all


@dataclass(frozen=True, repr=False)
class LoadReport:
    """What a partial load copies and what it leaves alone.

    Attributes:
        loaded: model keys that get values from the source.
        missing: model keys for which the source has nothing; they keep their values.
        unexpected: source keys that the model has no place for.
        wrong_shape: model keys whose source has another shape (source's, model's); not loaded.
        renamed: from source key to model key, for loaded keys whose names differ.
        wrong_dtype: loaded keys with another dtype in the source (source's, model's); the model
            keeps its own.
        resized: loaded keys that are made to fit (source's shape, model's shape).
        tied: model keys filled because they are one tensor with a loaded key, which is named.
        coverage: share of the model's numbers that lie in loaded tensors, 0 to 1.
    """

    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    wrong_shape: dict[str, tuple[Shape, Shape]]
    renamed: dict[str, str]
    wrong_dtype: dict[str, tuple[torch.dtype, torch.dtype]]
    resized: dict[str, tuple[Shape, Shape]]
    tied: dict[str, str]
    coverage: float

    @property
    def headline(self) -> str:
        """Loaded keys, all keys and coverage in one line."""
        total = len(self.loaded) + len(self.tied) + len(self.missing) + len(self.wrong_shape)
        return f"{len(self.loaded)} of {total} keys, {_percent(self.coverage)} of all values"

    @property
    def table(self) -> Table:
        """One row for each kind of key there is."""
        kinds: dict[str, Sequence[str]] = {
            "loaded": self.loaded,
            "renamed": [f"{old} → {new}" for old, new in self.renamed.items()],
            "resized": [_change(*item) for item in self.resized.items()],
            "tied": [f"{key} = {other}" for key, other in self.tied.items()],
            "wrong_dtype": [_change(*item) for item in self.wrong_dtype.items()],
            "wrong_shape": [_change(*item) for item in self.wrong_shape.items()],
            "missing": self.missing,
            "unexpected": self.unexpected,
        }
        rows = [(kind, len(keys), _some(keys)) for kind, keys in kinds.items() if keys]
        return Table(rows, ["what", "keys", "which"])

    def __str__(self) -> str:
        return f"{self.headline}\n{self.table}"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        bar = f'<progress value="{self.coverage:.4f}" max="1"></progress>'
        return f"<p>{bar} {self.headline}</p>{self.table._repr_html_()}"


def _percent(share: float) -> str:
    """Never 0 % for something, never 100 % for less than all."""
    if share in (0, 1):
        return f"{share:.0%}"
    return f"{min(max(share, 0.001), 0.999):.1%}"


def _change(key: str, pair: tuple[object, object]) -> str:
    source, target = (str(value).removeprefix("torch.") for value in pair)
    return f"{key} {source} → {target}"


def _some(keys: Sequence[str]) -> str:
    rest = len(keys) - SHOWN
    return ", ".join(keys[:SHOWN]) + (f" and {rest} more" if rest > 0 else "")
