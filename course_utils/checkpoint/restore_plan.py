"""What a checkpoint's tensors go into, found out and checked before anything is touched."""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.optim import Optimizer

from course_utils.checkpoint.read_into import Reading
from course_utils.checkpoint.saved_tensors import (
    NotInPlaceError,
    SavedTensor,
    dense,
    kind_of,
    rebuilt,
    saved_tensor,
)
from course_utils.errors import DamagedRecordError, MismatchedCheckpointError
from course_utils.files.open_file import OpenFile
from course_utils.formats.zip import Record

EXTRA_STATE = "_extra_state"
_PLAIN_TENSORS = {Tensor, nn.Parameter, nn.Buffer}


class Plan:
    """Where each tensor of a file goes.

    Args:
        file: in which it all is.
        target: a module, an optimizer, a tensor, or a dict from the file's entries to such; an
            entry for anything else is read into new memory.
        tree: what the file's pickle would build, as nodes; or a safetensors header's tensors.
        records: the file's, by name.
        exact: whether tensors keep the dtype that they have in the file; else, as with
            ``load_state_dict``, they get that of the parameter.

    Attributes:
        new: what is to be read into new memory.
        live: what is to be read into tensors that the objects have.
        state: what ``load_state_dict`` takes once all has been read; tensors that were filled
            in place are the objects' own.

    Raises:
        MismatchedCheckpointError: the file does not fit the target.
        NotInPlaceError: it may fit, but this is not the way to load it.
    """

    def __init__(
        self,
        file: OpenFile,
        target: Any,
        tree: Any,
        records: Mapping[str, Record],
        *,
        exact: bool = False,
    ) -> None:
        self.file, self._records, self._exact = file, records, exact
        self._used: dict[str, Record] = {}
        self._problems: list[str] = []
        self._readings: dict[tuple[int, int, torch.device], Reading] = {}
        self._made: set[int] = set()  # ids of tensors that are new
        self.state = self._state_for(target, tree, "")
        refuse_misfits(file.path, self._problems)
        readings = self._readings.values()
        self.new = [reading for reading in readings if id(reading.into) in self._made]
        self.live = [reading for reading in readings if id(reading.into) not in self._made]

    def records(self) -> Iterable[Record]:
        """Return the records that will be read."""
        return self._used.values()

    def _state_for(self, target: Any, node: Any, place: str) -> Any:
        if isinstance(target, nn.Module):
            return self._of_module(target, node, place)
        if isinstance(target, Optimizer):
            return self._of_optimizer(target, node, place)
        if isinstance(target, Mapping):
            return self._of_parts(target, node, place)
        if isinstance(target, Tensor):
            return self._fill(target, node, place.removesuffix("."))
        if not place:
            raise NotInPlaceError(f"a {type(target).__name__} is loaded in a way of its own")
        return self._new(node, place)

    def _of_parts(self, parts: Mapping[str, Any], node: Any, place: str) -> dict[str, Any]:
        if not isinstance(node, dict):
            self._problems.append(f"{place or 'the file'} holds a {kind_of(node)}, not a dict")
            return {}
        self._note([name for name in parts if name not in node], place, "is not in the file")
        return {
            name: self._state_for(part, node[name], f"{place}{name}.")
            for name, part in parts.items()
            if name in node
        }

    def _of_module(self, module: nn.Module, node: Any, place: str) -> dict[str, Any]:
        refuse_own_ways(module)
        waiting = module.state_dict(keep_vars=True)
        if not isinstance(node, dict):
            self._problems.append(
                f"{place or 'the file'} holds a {kind_of(node)}, not a state_dict"
            )
            return {}
        self._note([key for key in waiting if key not in node], place, "is not in the file")
        self._note([key for key in node if key not in waiting], place, "is in the file only")
        state: dict[str, Any] = OrderedDict()
        for key in (key for key in waiting if key in node):
            if EXTRA_STATE in key.split("."):
                state[key] = self._new(node[key], place + key)
            else:
                state[key] = self._fill(waiting[key], node[key], place + key)
        metadata = (getattr(node, "state", None) or {}).get("_metadata")
        if metadata is not None:
            state._metadata = self._new(metadata, place)  # type: ignore[attr-defined]
        return state

    def _of_optimizer(self, optimizer: Optimizer, node: Any, place: str) -> Any:
        if (
            optimizer._optimizer_load_state_dict_pre_hooks
            or type(optimizer).load_state_dict is not Optimizer.load_state_dict
        ):
            raise NotInPlaceError(f"{type(optimizer).__name__} has load hooks or a way of its own")
        try:
            saved = [list(group["params"]) for group in node["param_groups"]]
            states = node["state"]
        except (KeyError, TypeError):
            self._problems.append(f"{place or 'the file'} holds no optimizer's state")
            return {}
        here = [group["params"] for group in optimizer.param_groups]
        if list(map(len, saved)) != list(map(len, here)):
            self._problems.append(
                f"{place}param_groups has groups of {list(map(len, saved))} parameters, here of "
                f"{list(map(len, here))}"
            )
            return {}
        owners = dict(zip(chain(*saved), chain(*here), strict=True))
        state = {
            number: {
                key: self._of_parameter(optimizer, owners.get(number), key, value, place)
                for key, value in values.items()
            }
            for number, values in states.items()
        }
        return {**{k: self._new(v, place) for k, v in node.items() if k != "state"}, "state": state}

    def _of_parameter(
        self, optimizer: Optimizer, parameter: Any, key: str, node: Any, place: str
    ) -> Any:
        info = saved_tensor(node, place + key)
        if info is None or parameter is None:
            return self._new(node, place + key)
        # Where and as what torch keeps it: see Optimizer._process_value_according_to_param_policy.
        dtype = info.dtype
        if key != "step" and parameter.is_floating_point() and not self._exact:
            dtype = parameter.dtype
        device = torch.device("cpu") if key == "step" else parameter.device
        waiting = optimizer.state.get(parameter, {}).get(key)
        if not (
            isinstance(waiting, Tensor)
            and type(waiting) in _PLAIN_TENSORS
            and (waiting.shape, waiting.dtype) == (info.shape, dtype)
            and waiting.device == device
        ):
            waiting = torch.empty_strided(info.shape, dense(info), dtype=dtype, device=device)
            self._made.add(id(waiting))
        return self._put(waiting, info)

    def _note(self, names: list[str], place: str, problem: str) -> None:
        self._problems += [f"{place}{name} {problem}" for name in names]

    def _fill(self, waiting: Any, node: Any, name: str) -> Any:
        """Plan to read a tensor of the file into one that is there."""
        info = saved_tensor(node, name)
        if info is None:
            self._problems.append(f"{name} is a {kind_of(node)} in the file, not a tensor")
            return waiting
        return self._put(waiting, info)

    def _put(self, waiting: Any, info: SavedTensor) -> Any:
        name = info.name
        if type(waiting) not in _PLAIN_TENSORS or waiting.layout != torch.strided:
            raise NotInPlaceError(f"{name} is a {type(waiting).__name__}, {waiting.layout}")
        if waiting.is_meta:
            self._problems.append(
                f"{name} is on the meta device; course_utils.devices.load_into_meta gives it memory"
            )
        elif tuple(waiting.shape) != info.shape:
            self._problems.append(
                f"{name} is {info.shape} in the file, {tuple(waiting.shape)} here"
            )
        elif self._exact and waiting.dtype != info.dtype:
            self._problems.append(f"{name} is {info.dtype} in the file, {waiting.dtype} here")
        else:
            self._read(info, waiting)
        return waiting

    def _read(self, info: SavedTensor, into: Tensor) -> None:
        start = info.start
        if info.record is None:
            self._problems.append(f"{info.name} is on the meta device in the file: no values")
            return
        if info.record:
            record = self._records.get(info.record)
            if record and record.size > info.storage_nbytes:  # the ordinary way says it
                raise NotInPlaceError(f"record {info.record} is larger than the pickle says")
            if record is None or record.size != info.storage_nbytes:
                raise DamagedRecordError(info.record, f"tensor {info.name} does not fit it")
            self._used[info.record] = record
            start += record.offset
        # A memory that several names share is read once; as with load_state_dict, the last counts.
        where = (into.data_ptr(), into.nbytes, into.device)
        self._readings[where] = Reading(start, info.span, info.shape, info.stride, info.dtype, into)

    def _new(self, node: Any, name: str) -> Any:
        """Build a value anew, its tensors to be read."""
        info = saved_tensor(node, name)
        if info is not None:
            strides = dense(info)
            new = torch.empty_strided(info.shape, strides, dtype=info.dtype, device="cpu")
            self._made.add(id(new))  # it lives as long as the reading into it
            if new.numel():
                self._read(info, new)
            return new
        return rebuilt(node, lambda inner: self._new(inner, name))


def refuse_misfits(path: Path, problems: list[str]) -> None:
    """Say what does not fit, if anything does not.

    Raises:
        MismatchedCheckpointError: there are problems.
    """
    if problems:
        shown = "\n".join(f"- {problem}" for problem in problems[:20])
        raise MismatchedCheckpointError(
            f"{path}: does not fit ({len(problems)} differences), and nothing was loaded. To load "
            f"a part, use course_utils.partial.\n{shown}"
        )


def refuse_overlaps(readings: Iterable[Reading]) -> None:
    """Leave tensors that lie upon each other in part to the ordinary way.

    Raises:
        NotInPlaceError: some do.
    """
    tensors = (reading.into for reading in readings)
    places = sorted(_reach(tensor) for tensor in tensors if tensor.numel())
    for (device, _, stop), (other, start, _) in pairwise(places):
        if device == other and start < stop:
            raise NotInPlaceError("some of its tensors share memory in part")


def _reach(tensor: Tensor) -> tuple[str, int, int]:
    """Return a tensor's device and the addresses of its first byte and behind its last."""
    steps = zip(tensor.shape, tensor.stride(), strict=True)
    span = 1 + sum((size - 1) * step for size, step in steps)
    start = tensor.data_ptr()
    return str(tensor.device), start, start + span * tensor.dtype.itemsize


def refuse_own_ways(module: nn.Module) -> None:
    """Leave to a module what it wants to do itself while it is loaded.

    Raises:
        NotInPlaceError: it, or one inside it, has load hooks or methods of its own.
    """
    if torch.__future__.get_swap_module_params_on_conversion():
        raise NotInPlaceError("torch.__future__ is set to swap parameters")
    for name, part in module.named_modules():
        kind = type(part)
        hooks = part._load_state_dict_pre_hooks or part._state_dict_hooks
        own = (
            kind.load_state_dict is not nn.Module.load_state_dict
            or kind.state_dict is not nn.Module.state_dict
            or kind._load_from_state_dict
            not in (nn.Module._load_from_state_dict, _NormBase._load_from_state_dict)
        )
        if hooks or own:
            raise NotInPlaceError(
                f"{name or 'the module'}, a {kind.__name__}, has load hooks or a way of its own"
            )
