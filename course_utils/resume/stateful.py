"""What a part of a run has to offer."""

from typing import Any, Protocol


class Stateful(Protocol):
    """Anything that can be saved and restored."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state as tensors and plain containers."""

    def load_state_dict(self, state: Any) -> Any:
        """Take a state that `state_dict` returned."""
