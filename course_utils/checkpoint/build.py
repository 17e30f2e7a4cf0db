"""Build what a checkpoint holds from its pickle's nodes, without an unpickler.

torch's safe unpickler takes most of the time that a file of many tensors needs to load. What
nearly every checkpoint is made of is built here instead: plain containers, plain values, and
tensors that are views of storages. Whatever else there is, torch builds all of the file.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, UntypedStorage, nn

from course_utils.checkpoint.saved_tensors import (
    PARAMETER,
    VALUES,
    VIEWS,
    NotInPlaceError,
    SavedTensor,
    saved_tensor,
)
from course_utils.checkpoint.torch_versions import skips_data
from course_utils.formats.dtypes import ITEMSIZE, STORAGES
from course_utils.formats.pickle import Pickle
from course_utils.formats.pickle_nodes import Call, Global, OrderedDictNode, describe
from course_utils.formats.plain_nodes import plain
from course_utils.formats.tensors import is_tensor

PROTOCOL = b"\x80\x02"  # of every pickle that torch.save writes, unless it is told another


class NotBuiltError(Exception):
    """Only torch's own unpickler makes this right."""


def build(content: Pickle, storage: Callable[[str, int], UntypedStorage]) -> Any:
    """Return what a pickle's nodes stand for, on the CPU.

    One object in the file stays one object, and what shares memory goes on to share it.

    Args:
        content: as `read_pickle` gives it; it is not changed.
        storage: returns the memory of a record, by its name and the bytes that the pickle asks
            for; it is asked once for each.

    Raises:
        NotBuiltError: it holds something else, or what cannot be; or tensors are made differently
            here and now.
    """
    more = [name for name in content.globals if not _is_known(name)]
    if more or content.doubtful:
        raise NotBuiltError(f"it imports {more}")
    if type(torch.empty(0, device="cpu")) is not Tensor or skips_data():
        raise NotBuiltError("tensors are no plain memory here and now")
    try:
        return _Builder(storage).build(content.root)
    except RecursionError:
        raise NotBuiltError("it is nested too deep") from None
    except (NotInPlaceError, TypeError, ValueError, RuntimeError) as error:
        raise NotBuiltError(str(error)) from None  # torch says it in its own words


class _Builder:
    def __init__(self, storage: Callable[[str, int], UntypedStorage]) -> None:
        self._storage = storage
        self._made: dict[int, Any] = {}  # by id of the node
        # By record: what the first tensor says of it, and its memory.
        self._storages: dict[str, tuple[tuple[int, torch.dtype], UntypedStorage]] = {}

    def build(self, node: Any) -> Any:
        kind = type(node)
        if kind in _AS_THEY_ARE:
            return node
        if id(node) in self._made:
            return self._made[id(node)]
        if kind in (dict, OrderedDictNode):
            return self._dict(node)
        if kind is list:
            made = self._made[id(node)] = []
            made.extend(map(self.build, node))
            return made
        made = self._other(node)
        self._made[id(node)] = made
        return made

    def _dict(self, node: Any) -> dict[Any, Any]:
        made: dict[Any, Any] = {} if type(node) is dict else OrderedDict()
        self._made[id(node)] = made
        for key, value in node.items():
            made[key if type(key) is str else self.build(key)] = self.build(value)
        state = getattr(node, "state", None)
        if state is not None:
            made.__dict__.update(self.build(state))
        return made

    def _other(self, node: Any) -> Any:
        if type(node) is tuple:
            return tuple(map(self.build, node))
        if type(node) is Global and _is_dtype(node):
            return getattr(torch, node.name)
        if type(node) is Call and node.opcode == "REDUCE" and node.state is None and not node.items:
            return self._called(describe(node.function), node)
        raise NotBuiltError(f"it holds {describe(node)}")

    def _called(self, function: str, node: Call) -> Any:
        arguments = node.arguments
        if function == PARAMETER:
            if len(arguments) != 3 or not _is_empty(arguments[2]):
                raise NotBuiltError("a parameter has hooks or more")
            data = self.build(arguments[0])
            if type(data) is not Tensor:
                raise NotBuiltError("a parameter is made of something else")
            return nn.Parameter(data, arguments[1])
        if is_tensor(node):
            return self._tensor(saved_tensor(node, "a tensor"), *arguments[4:6])
        if function in VALUES and len(arguments) == 1:
            return VALUES[function](self.build(arguments[0]))
        value = plain(node)
        if type(value) is bytes:
            return value
        raise NotBuiltError(f"it holds a call of {function}")

    def _tensor(self, saved: SavedTensor | None, requires_grad: Any, hooks: Any) -> Tensor:
        if saved is None or type(requires_grad) is not bool or not _is_empty(hooks):
            raise NotBuiltError("a tensor has hooks, or is none")
        storage, offset = self._memory(saved), saved.start // saved.dtype.itemsize
        tensor = torch.empty(0, dtype=saved.dtype, device="cpu")
        tensor.set_(storage, offset, saved.shape, saved.stride)
        return tensor.requires_grad_() if requires_grad else tensor

    def _memory(self, saved: SavedTensor) -> UntypedStorage:
        """Return the storage that a tensor is a view of, which has one size and dtype for all."""
        assert saved.record is not None
        said = saved.storage_nbytes, saved.dtype
        if saved.record not in self._storages:
            self._storages[saved.record] = said, self._storage(saved.record, saved.storage_nbytes)
        first, storage = self._storages[saved.record]
        if first != said:
            raise NotBuiltError("a storage is described in two ways")
        return storage


def _is_known(name: Global) -> bool:
    is_storage = name.module in ("torch", "torch.storage") and name.name in STORAGES
    return name.path in _NAMES or is_storage or _is_dtype(name)


def _is_dtype(name: Global) -> bool:
    """Whether it is a dtype that this torch has."""
    return name.module == "torch" and name.name in ITEMSIZE and hasattr(torch, name.name)


def _is_empty(hooks: Any) -> bool:
    return type(hooks) is OrderedDictNode and not hooks


_AS_THEY_ARE = {type(None), bool, int, float, str}
_NAMES = {*VALUES, *VIEWS, PARAMETER, "collections.OrderedDict", "_codecs.encode"}
