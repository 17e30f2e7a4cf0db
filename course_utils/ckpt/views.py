"""The places in a pickle's tree where a tensor says which part of which storage it shows."""

from typing import Any, NamedTuple

from course_utils.formats.dtypes import ITEMSIZE
from course_utils.formats.pickle_nodes import Call, PersistentId, describe
from course_utils.formats.tensors import TYPED, TensorInfo, storage_of, tensor_at
from course_utils.formats.trees import nodes

STRIDED = {
    f"torch._utils.{name}"
    for name in ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_tensor_v3", "_rebuild_qtensor")
}


class View(NamedTuple):
    """A tensor of strided memory: the call that makes it, and what it says.

    Attributes:
        call: begins with the storage, the offset, the shape and the stride.
        info: the same, understood.
    """

    call: Call
    info: TensorInfo

    @property
    def reference(self) -> PersistentId:
        """The storage as the call has it."""
        return _arguments(self.call)[0]

    @property
    def unit(self) -> int:
        """Bytes in which the size of its storage is counted."""
        return ITEMSIZE[storage_of(self.reference).dtype]

    @property
    def start(self) -> int:
        """Its first byte in the storage; 0 if it has no elements, which may lie anywhere."""
        return self.info.storage_offset * self.info.itemsize if self.info.span else 0

    @property
    def stop(self) -> int:
        """The byte after its last one."""
        return self.start + self.info.span * self.info.itemsize

    def set(self, reference: PersistentId, offset: int, stride: tuple[int, ...]) -> None:
        """Let the call say other things."""
        old = _arguments(self.call)
        new = (reference, offset, old[2], stride, *old[4:])
        if describe(self.call.function) == TYPED:
            new = (*self.call.arguments[:2], new, *self.call.arguments[3:])
        self.call.arguments = new


def views_in(tree: Any) -> tuple[list[View], list[PersistentId]]:
    """Return all views under a node, and the references to storages that are no part of one."""
    views, references = [], []
    for node in nodes(tree):
        if isinstance(node, PersistentId):
            references.append(node)
        if isinstance(node, Call):
            info = _strided(node)
            if info:
                views.append(View(node, info))
    held = {id(view.reference) for view in views}
    return views, [reference for reference in references if id(reference) not in held]


def _strided(call: Call) -> TensorInfo | None:
    function = call.function
    if describe(function) == TYPED:
        function = call.arguments[0]
    if describe(function) not in STRIDED:
        return None
    info = tensor_at("", Call(function, _arguments(call)))
    return info if isinstance(info, TensorInfo) else None


def _arguments(call: Call) -> Any:
    return call.arguments[2] if describe(call.function) == TYPED else call.arguments
