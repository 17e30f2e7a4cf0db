"""Reference answer of exercise 03.3."""

from torch import Tensor, nn

from course_utils.partial import match_rows


def load_head(head: nn.Linear, saved: dict[str, Tensor], old: list[str], new: list[str]) -> None:
    """Load the trained rows by the names of their classes."""
    fit = match_rows(old, new)
    state = {name: fit(saved[name], tensor) for name, tensor in head.state_dict().items()}
    head.load_state_dict(state)
