"""Puts back what a failed restore has changed."""

from collections.abc import Callable


class Undo:
    """What brings each part back to where it was, in the order in which they were changed."""

    def __init__(self) -> None:
        self._steps: list[tuple[str, Callable[[], object]]] = []

    def add(self, name: str, step: Callable[[], object]) -> None:
        """Note how to put a part back."""
        self._steps.append((name, step))

    def back(self) -> str:
        """Put all parts back, the last first, and say how that went."""
        return "; ".join(self.put_back()) or "nothing has been changed"

    def put_back(self) -> list[str]:
        """Put all parts back, the last first, and return a line for each that could not be."""
        failed = []
        for name, step in reversed(self._steps):
            try:
                step()
            except Exception as error:  # go on: each part that is put back counts
                failed.append(f"{name} could not be put back ({type(error).__name__}: {error})")
        return failed
