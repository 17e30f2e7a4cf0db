"""Figures for the lessons: one style, shown with a text for those who cannot see them."""

import base64
import html
import io
from typing import Any

import matplotlib.pyplot as plt
from IPython.display import display
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Okabe and Ito's palette: told apart by colour-blind readers too.
# https://jfly.uni-koeln.de/color/
BLUE, ORANGE, GREEN, RED, PURPLE, GREY = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#7A7A7A",
)  # fmt: skip
COLORS = [BLUE, ORANGE, GREEN, RED, PURPLE, GREY]

# A light card: the same in the light and the dark theme.
STYLE: dict[Any, Any] = {
    "figure.facecolor": "#FBFBF9",
    "axes.facecolor": "#FBFBF9",
    "axes.prop_cycle": plt.cycler(color=COLORS),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#DDDDD8",
    "font.family": "DejaVu Sans",  # ships with matplotlib
    "font.size": 11,
    "legend.frameon": False,
    "figure.dpi": 110,
}


def figure(width: float = 7.5, height: float = 3.6, **subplots: Any) -> tuple[Figure, Any]:
    """Return a figure and its axes, as ``plt.subplots`` does, and draw in the course's style.

    Args:
        width: inches.
        height: inches.
        subplots: passed to ``plt.subplots``.
    """
    plt.rcParams.update(STYLE)  # for all that is drawn into the figure later, too
    return plt.subplots(figsize=(width, height), layout="constrained", **subplots)


def show(fig: Figure, *, alt: str, caption: str) -> None:
    """Show a figure with its alternative text and caption, and close it.

    Args:
        fig: the figure.
        alt: what the picture shows, for those who cannot see it.
        caption: what to look for.
    """
    display(_Picture(fig, alt, caption))
    plt.close(fig)


def label_bars(axes: Axes, fmt: str = "{:.2f}") -> None:
    """Write each bar's value at its end."""
    for bars in axes.containers:
        axes.bar_label(bars, fmt=fmt, padding=3)  # type: ignore[arg-type]


class _Picture:
    def __init__(self, fig: Figure, alt: str, caption: str) -> None:
        self.alt, self.caption = alt, caption
        buffer = io.BytesIO()
        fig.savefig(buffer, format="png", metadata={"Software": None})
        self.png = base64.b64encode(buffer.getvalue()).decode()

    def __repr__(self) -> str:
        return f"Figure: {self.caption}"

    def _repr_html_(self) -> str:
        image = (
            f'<img alt="{html.escape(self.alt, quote=True)}" style="max-width:100%" '
            f'src="data:image/png;base64,{self.png}">'
        )
        return f"<figure>{image}<figcaption>{html.escape(self.caption)}</figcaption></figure>"
