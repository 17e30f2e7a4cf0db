"""Turn a state into the pickle ``torch.save`` would write and the storages it refers to."""

import copyreg
import io
import pickle
import warnings
from collections import OrderedDict
from functools import partial
from types import BuiltinFunctionType, FunctionType
from typing import Any

import torch
from torch import Tensor, UntypedStorage
from torch.storage import TypedStorage

from course_utils.checkpoint.assign_mark import reduce_ordered_dict
from course_utils.checkpoint.torch_versions import refused_names, skips_data
from course_utils.formats.garbage import collector_paused


class LeaveItToTorchError(Exception):
    """The state holds something only torch itself knows how to save."""


class PickledState:
    """A state as its pickle and the storages to which that refers, in order.

    Attributes:
        was_marked: whether the mark of ``load_state_dict(assign=True)`` was left out.

    Args:
        state: as for ``save_checkpoint``.
        compact: as for ``save_checkpoint``.

    Raises:
        LeaveItToTorchError: among its tensors is one without plain memory.
    """

    def __init__(self, state: Any, *, compact: bool = False) -> None:
        if skips_data():
            raise LeaveItToTorchError
        buffer = io.BytesIO()
        pickler = (_CompactPickler if compact else _Pickler)(buffer)
        with collector_paused():
            pickler.dump(state)
        self.pickle, self.storages = buffer.getvalue(), pickler.storages
        self.was_marked = bool(pickler.marks)
        _warn_if_refused(pickler.imported, self.pickle)


# Most objects are of these types; they are passed over quickly.
_PLAIN = frozenset({str, int, float, bool, type(None), tuple, list, dict, OrderedDict})


class _Pickler(pickle.Pickler):
    """Pickles as ``torch.save`` does: a storage becomes a reference to a record."""

    def __init__(self, buffer: io.BytesIO) -> None:
        super().__init__(buffer, protocol=2)
        self.marks: list[bool] = []
        reduce = partial(reduce_ordered_dict, note=self.marks)
        self.dispatch_table = {**copyreg.dispatch_table, OrderedDict: reduce}
        self.storages: list[UntypedStorage] = []
        self.imported: set[Any] = set()
        self._keys: dict[int, str] = {}
        self._dtypes: dict[int, torch.dtype] = {}

    def persistent_id(self, obj: Any) -> tuple[Any, ...] | None:
        """Return the reference that stands for a storage, None for anything else."""
        if type(obj) in _PLAIN:
            return None
        if isinstance(obj, TypedStorage):
            kind = getattr(torch, obj._pickle_storage_type())
            return self._reference(obj._untyped_storage, kind, obj.dtype, obj._size())
        if isinstance(obj, UntypedStorage):
            return self._reference(obj, UntypedStorage, torch.uint8, obj.nbytes())
        if isinstance(obj, (type, FunctionType, BuiltinFunctionType)):
            self.imported.add(obj)
        return None

    def _reference(
        self, storage: UntypedStorage, kind: type, dtype: torch.dtype, size: int
    ) -> tuple[Any, ...]:
        if storage.device.type == "meta" or storage._fake_device is not None:
            raise LeaveItToTorchError
        if storage.nbytes() and self._dtypes.setdefault(storage.data_ptr(), dtype) != dtype:
            raise LeaveItToTorchError  # it refuses one memory seen as two types
        key = self._keys.get(storage._cdata)
        if key is None:
            key = self._keys[storage._cdata] = str(len(self.storages))
            self.storages.append(storage)
        return "storage", kind, key, torch.serialization.location_tag(storage), size


class _CompactPickler(_Pickler):
    """Replaces views of a larger memory by copies of what they show."""

    def reducer_override(self, obj: Any) -> Any:
        if type(obj) is Tensor and obj.layout == torch.strided and not obj.is_quantized:
            storage = obj.untyped_storage()
            if obj.nbytes < storage.nbytes() and storage.device.type != "meta":
                copy = obj.detach().clone().requires_grad_(obj.requires_grad)
                return copy.__reduce_ex__(2)
        return NotImplemented


def _warn_if_refused(imported: set[Any], content: bytes) -> None:
    """Tell at once, not when the run is lost, what a safe load will refuse."""
    if refused := refused_names(imported, content):
        warnings.warn(
            f"The checkpoint needs {', '.join(refused)}, which load_checkpoint and "
            "torch.load(weights_only=True) refuse to import. Save plain values instead.",
            stacklevel=5,
        )
