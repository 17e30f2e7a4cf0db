"""An optimizer as part of a run."""

from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Mapping
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from course_utils.errors import CheckpointWriteError
from course_utils.resume.plain import compressed, copied, plain


class OptimizerPart:
    """An optimizer, whose state comes back as it was saved, in its saved dtypes.

    ``Optimizer.load_state_dict`` casts moments to the dtype of their parameters, and takes the
    tensors of the state it is given for its own.

    Args:
        name: the part's name.
        thing: the optimizer.
        added: entries of groups that its steps had added to the saved one, such as a counter.
    """

    def __init__(self, name: str, thing: Optimizer, added: Collection[str] = ()) -> None:
        self.name, self.thing, self.added = name, thing, {*added, *_OF_OTHERS}

    def state(self, numbers: dict[str, str]) -> Any:
        """Return its state, by position."""
        state = plain(self.thing.state_dict(), self.name, numbers)
        if next(compressed(state["param_groups"]), None) is not None:
            raise CheckpointWriteError(
                f"{self.name}: a group holds a compressed sparse tensor, which "
                "Optimizer.load_state_dict cannot take; keep it as a part: TrainState(…, name=…)"
            )
        return state

    def check(self, saved: Any) -> tuple[list[str], list[str]]:
        """Compare groups and the names of their settings: SGD has others than Adam.

        A setting that the file lacks is fine: the optimizer has a value for it, as when a newer
        PyTorch has added one. One that this optimizer lacks is fine only if it is off.
        """
        problems = self._malformed(saved)
        if problems:
            return problems, []
        notes = []
        for here, there in zip(self.thing.param_groups, saved["param_groups"], strict=True):
            unknown = {k: v for k, v in there.items() if k not in here and k not in self.added}
            off = [key for key, value in unknown.items() if value is None or value is False]
            if on := sorted(unknown.keys() - set(off)):
                problems.append(
                    f"- {self.name}: has no setting {', '.join(on)}: another kind of optimizer?"
                )
            if off:
                notes.append(f"- {self.name}: has no setting {', '.join(off)}, which was off")
            if absent := [key for key in here if key not in there and key not in _OF_OTHERS]:
                notes.append(
                    f"- {self.name}.{', '.join(absent)} is not in the checkpoint: stays as it is"
                )
        return list(dict.fromkeys(problems)), list(dict.fromkeys(notes))

    def load(self, saved: Any) -> None:
        """Restore it."""
        before = [dict(group) for group in self.thing.param_groups]
        for group, former in zip(saved["param_groups"], before, strict=True):
            for key in group.keys() - former.keys() - self.added:
                del group[key]
        self.thing.load_state_dict(saved)
        for group, former in zip(self.thing.param_groups, before, strict=True):
            for key in former.keys() - group.keys():  # of a scheduler here, or of a newer PyTorch
                group[key] = former[key]
        numbers = [n for group in saved["param_groups"] for n in group["params"]]
        parameters = [p for group in self.thing.param_groups for p in group["params"]]
        for number, parameter in zip(numbers, parameters, strict=True):
            if number in saved["state"] and parameter in self.thing.state:
                state = self.thing.state[parameter]
                self.thing.state[parameter] = _uncast(state, saved["state"][number])

    def remember(self) -> Callable[[], object]:
        """Keep what ``load_state_dict`` replaces; an own one may write in place: then a copy."""
        if type(self.thing).load_state_dict is not Optimizer.load_state_dict:
            former = copied(self.thing.state_dict())
            return lambda: self.thing.load_state_dict(former)
        state, groups = self.thing.state, self.thing.param_groups

        def put_back() -> None:
            self.thing.state, self.thing.param_groups = state, groups

        return put_back

    def _malformed(self, saved: Any) -> list[str]:
        """What would make ``load_state_dict`` fail."""
        if not isinstance(saved, Mapping):
            return [f"- {self.name} is a {type(saved).__name__}, not a dictionary"]
        absent = [key for key in ("state", "param_groups") if key not in saved]
        if absent:
            return [f"- {self.name}.{key} is not in the checkpoint" for key in absent]
        sizes = [len(group["params"]) for group in saved["param_groups"]]
        here = [len(group["params"]) for group in self.thing.param_groups]
        if sizes != here:
            return [f"- {self.name}: groups of {sizes} parameters, here {here}"]
        known = {number for group in saved["param_groups"] for number in group["params"]}
        return [
            f"- {self.name}.state.{number} belongs to no parameter"
            for number in saved["state"]
            if isinstance(number, int) and number not in known
        ]


# Entries of a group that others put there: a scheduler, or whoever named the parameters.
_OF_OTHERS = {"initial_lr", "max_lr", "min_lr", "base_momentum", "max_momentum", "swa_lr",
              "param_names"}  # fmt: skip


def _uncast(loaded: Any, saved: Any) -> Any:
    """Put back in its saved dtype what loading has cast."""
    if isinstance(loaded, Tensor) and isinstance(saved, Tensor):
        cast = loaded.dtype != saved.dtype and loaded.shape == saved.shape
        return saved.to(loaded.device) if cast else loaded
    if isinstance(loaded, dict) and isinstance(saved, dict):
        kind = type(saved) if type(saved) in (OrderedDict, Counter) else dict  # torch makes a dict
        return kind({k: _uncast(v, saved[k]) if k in saved else v for k, v in loaded.items()})
    if type(loaded) in (list, tuple) and type(saved) is type(loaded):
        return type(loaded)(_uncast(*pair) for pair in zip(loaded, saved, strict=True))
    return saved if isinstance(saved, str) else loaded  # torch takes a text for a list
