"""The course's drawings: what points to what, what happens when, and what to choose.

Each is a card with a light ground, readable in the light and the dark theme, with the text that
says the same to those who cannot see it.
"""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from course_utils.lessons import plots

INK = "#222222"
PALE = {
    plots.BLUE: "#D5E6F1", plots.ORANGE: "#FBEBCC", plots.GREEN: "#D0EDE4",
    plots.RED: "#F8DDCC", plots.PURPLE: "#F5E3ED", plots.GREY: "#E6E6E2",
}  # fmt: skip


def names_tensors_storages() -> None:
    """Show how names, tensors and storages hang together: a tie, and a view."""
    fig, axis = _card(8, 3.7)
    for x, head in ((0.5, "names"), (4, "tensors: shape, strides, offset"), (8.2, "storages")):
        axis.text(x, 4.55, head, weight="bold", color=INK)
    rows = [
        (3.5, '"encoder.weight"'),
        (2.6, '"decoder_weight"'),
        (1.5, '"million"'),
        (0.4, '"first"'),
    ]
    for y, name in rows:
        _box(axis, (0.3, y), 2.6, name, plots.BLUE, family="monospace", size=9)
    tensors = [(3.05, "4 × 64, offset 0"), (1.5, "1,000,000, offset 0"), (0.4, "4, offset 0")]
    for y, text in tensors:
        _box(axis, (4, y), 2.9, text, plots.ORANGE)
    _box(axis, (8.2, 3.05), 2.6, "1,024 bytes", plots.GREEN)
    _box(axis, (8.2, 0.95), 2.6, "4,000,000 bytes", plots.GREEN)
    for start, stop in ((3.5, 3.15), (2.6, 2.95), (1.5, 1.5), (0.4, 0.4)):
        _arrow(axis, (2.9, start + 0.3), (4, stop + 0.3))
    for start, stop in ((3.05, 3.05), (1.5, 1.1), (0.4, 0.8)):
        _arrow(axis, (6.9, start + 0.3), (8.2, stop + 0.3))
    plots.show(
        fig,
        alt="Three columns joined by arrows. Two names, encoder.weight and decoder_weight, point "
        "to one tensor, which points to a storage of 1,024 bytes. The names million and first "
        "point to a tensor each, of a million and of 4 numbers, and both tensors to one storage "
        "of 4,000,000 bytes.",
        caption="Above, a tie: two names, one tensor. Below, a view: two tensors, one storage. A "
        "file holds storages, so it keeps both relations, and all 4,000,000 bytes.",
    )


def archive_with_directory() -> None:
    """Show a .pt file from its first byte to its last, with the directory that points back."""
    fig, axis = _card(8, 2.9, height=4.2)
    parts = [
        (0.2, 2.0, "data.pkl\nthe pickle", plots.ORANGE),
        (2.3, 1.5, "small\nrecords", plots.GREY),
        (3.9, 2.3, "data/0\nnumbers", plots.BLUE), (6.3, 1.7, "data/1\nnumbers", plots.BLUE),
        (8.1, 2.7, "directory:\nnames and places", plots.GREEN),
    ]  # fmt: skip
    for x, width, text, color in parts:
        _box(axis, (x, 1.4), width, text, color, height=1.2)
        if color != plots.GREEN:
            _arrow(axis, (9.4, 2.6), (x + 0.3, 2.6), bend=0.28, color=plots.GREEN)
    axis.annotate(
        "", (10.9, 0.75), (0.2, 0.75), arrowprops={"arrowstyle": "->", "color": plots.GREY}
    )
    axis.text(0.2, 0.25, "first byte", color=INK)
    axis.text(10.9, 0.25, "last byte", color=INK, ha="right")
    axis.text(7.75, 0.25, "cut here, and the directory is gone", color=plots.RED, ha="center")
    axis.plot([7.75, 7.75], [0.55, 2.75], color=plots.RED, lw=2, ls="--")
    plots.show(
        fig,
        alt="A .pt file as a row of boxes: data.pkl, small records, data/0, data/1, and at the end "
        "the directory, from which arrows lead back to the start of every record. A dashed line "
        "cuts the file within data/1, before the directory.",
        caption="A reader starts at the end: the directory says where each record begins. A file "
        "that was cut has lost it, and none of the records can be found.",
    )


def pickle_stack() -> None:
    """Show how the pickle machine calls a function, in four steps on its stack."""
    steps: list[tuple[str, list[str]]] = [
        ("GLOBAL\ndecimal.Decimal", ["Decimal"]),
        ("BINUNICODE\n'0.1'", ["'0.1'", "Decimal"]),
        ("TUPLE1", ["('0.1',)", "Decimal"]),
        ("REDUCE", ["Decimal('0.1')"]),
    ]
    fig, axis = _card(8, 2.9, height=4.3)
    for number, (opcode, stack) in enumerate(steps):
        x = 0.3 + 2.75 * number
        axis.text(x + 1.1, 3.65, f"{number + 1}. {opcode}", ha="center", color=INK, size=10)
        axis.plot([x, x + 2.2], [0.75, 0.75], color=INK, lw=2)
        for level, value in enumerate(reversed(stack)):
            called = opcode == "REDUCE"
            color = plots.RED if called else plots.ORANGE if value == "Decimal" else plots.BLUE
            _box(
                axis, (x + 0.1, 0.85 + 0.85 * level), 2.0, value, color, family="monospace", size=9
            )
        if number < 3:
            _arrow(axis, (x + 2.2, 1.6), (x + 2.75, 1.6))
    axis.text(5.5, 0.2, "the stack, its top above", ha="center", color=INK)
    plots.show(
        fig,
        alt="Four pictures of a stack. GLOBAL pushes the function Decimal. BINUNICODE pushes the "
        "text 0.1 above it. TUPLE1 turns the text into a tuple of one. REDUCE takes both, calls "
        "the function, and pushes the result, in red.",
        caption="Two instructions make a file dangerous: GLOBAL fetches any function, and REDUCE "
        "calls it. (BINPUT, which only remembers, is left out.)",
    )


def save_kill_resume() -> None:
    """Show a run that saves, is killed and goes on, on a time line."""
    fig, axis = _card(8, 2.7, height=3.8)
    for y, label in ((2.6, "first process"), (0.9, "second process")):
        axis.text(0.1, y + 0.55, label, color=INK, weight="bold", size=10)
    scale = 0.09
    first, second = 0.3, 0.3 + 88 * scale
    axis.plot([first, first + 100 * scale], [2.6, 2.6], color=plots.BLUE, lw=7)
    axis.plot([second, second + 25 * scale], [0.9, 0.9], color=plots.ORANGE, lw=7)
    for step in (22, 44, 66, 88):
        axis.plot(first + step * scale, 2.6, "o", color=INK, ms=8)
        axis.text(
            first + step * scale, 2.0, f"saved\n{step}", ha="center", va="center", color=INK, size=9
        )
    axis.plot(first + 100 * scale, 2.6, "X", color=plots.RED, ms=14)
    axis.text(
        first + 100 * scale, 3.05, "killed in step 100", ha="center", color=plots.RED, size=10
    )
    _arrow(axis, (second, 1.7), (second, 1.05))
    axis.text(second - 0.2, 0.9, "loads 88; steps 89 to 100 are done again", ha="right",
              va="center", color=INK, size=10)  # fmt: skip
    axis.text(first + 100 * scale, 0.3, "time →", color=INK, size=10)
    plots.show(
        fig,
        alt="A time line. The first process saves at steps 22, 44, 66 and 88 and is killed in step "
        "100. The second process loads the checkpoint of step 88 and does steps 89 to 100 again.",
        caption="What was not saved is done again. Exact resume means that nobody can tell.",
    )


def choose_map_location() -> None:
    """Show which ``map_location`` to pass, as questions."""
    fig, axis = _card(8, 3.6)
    _tree(
        axis,
        [
            ("you only look, or copy\ninto a model afterwards?", 'map_location="cpu"'),
            ("one process, one GPU?", "map_location=device"),
            ("one process for each GPU?", '"cpu", or f"cuda:{local_rank}"'),
            ("some storages here, some there?", "a dict from tag to device"),
        ],
        otherwise="no map_location:\nonly on the machine that saved",
    )
    plots.show(
        fig,
        alt="Questions from top to bottom. You only look, or copy into a model afterwards: cpu. "
        "One process and one GPU: the device. One process for each GPU: cpu, or the rank's own "
        "cuda device. Some storages here and some there: a dict from tag to device. Otherwise no "
        "map_location, only on the machine that saved.",
        caption="The first answer is always right, if not always the fastest.",
    )


def which_format() -> None:
    """Show which kind of file to write, beginning with who loads it."""
    fig, axis = _card(8, 4.7, height=6.8)
    axis.text(0.3, 6.4, "Who loads it?", weight="bold", color=INK)
    _tree(
        axis,
        [
            ("you, to train on?", "torch.save of state_dicts"),
            ("anybody, the weights only?", "safetensors"),
            ("Python, without your class?", "torch.export: .pt2"),
            ("C++, a machine like yours?", "AOTInductor: .pt2"),
            ("a phone or a small device?", "ExecuTorch: .pte"),
            ("other languages, browsers?", "ONNX"),
        ],
        otherwise="an old program that you cannot change:\nTorchScript",
        top=5.5,
    )
    plots.show(
        fig,
        alt="Who loads it? You, to train on: torch.save of state_dicts. Anybody, the weights only: "
        "safetensors. Python without your class: torch.export. C++ on a machine like yours: "
        "AOTInductor. A phone or a small device: ExecuTorch. Other languages and browsers: ONNX. "
        "Otherwise, an old program that you cannot change: TorchScript.",
        caption="Begin with who loads the file, where, and from whom it comes. From "
        "strangers, take safetensors or ONNX.",
    )


def _tree(axis: Axes, rows: Sequence[tuple[str, str]], *, otherwise: str, top: float = 4.0) -> None:
    for number, (question, answer) in enumerate(rows):
        y = top - 0.9 * number
        _box(axis, (0.3, y), 4.6, question, plots.BLUE, height=0.68)
        _box(axis, (6.2, y), 4.6, answer, plots.GREEN, height=0.68)
        _arrow(axis, (4.9, y + 0.34), (6.2, y + 0.34))
        axis.text(5.5, y + 0.42, "yes", ha="center", color=INK, size=9)
        _arrow(axis, (2.6, y), (2.6, y - 0.22))
    y = top - 0.9 * len(rows)
    _box(axis, (0.3, y), 4.6, otherwise, plots.GREY, height=0.68)


def _card(width: float, inches: float, *, height: float = 5.0) -> tuple[plots.Figure, Axes]:
    fig, axis = plots.figure(width, inches)
    axis.set(xlim=(0, 11.1), ylim=(0, height))
    axis.axis("off")
    return fig, axis


def _box(
    axis: Axes, corner: tuple[float, float], width: float, text: str, color: str, *,
    height: float = 0.6, size: float = 10, family: str = "DejaVu Sans",
) -> None:  # fmt: skip
    patch = FancyBboxPatch(
        corner,
        width,
        height,
        boxstyle="round,pad=0,rounding_size=0.1",
        fc=PALE[color],
        ec=color,
        lw=1.5,
    )
    axis.add_patch(patch)
    x, y = corner
    axis.text(x + width / 2, y + height / 2, text, ha="center", va="center", color=INK,
              size=size, family=family)  # fmt: skip


def _arrow(
    axis: Axes, start: tuple[float, float], stop: tuple[float, float], *,
    bend: float = 0.0, color: str = INK,
) -> None:  # fmt: skip
    axis.add_patch(
        FancyArrowPatch(start, stop, arrowstyle="-|>", mutation_scale=13, color=color, lw=1.3,
                        shrinkA=0, shrinkB=1, connectionstyle=f"arc3,rad={bend}")
    )  # fmt: skip
