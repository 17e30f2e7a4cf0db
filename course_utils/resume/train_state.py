"""Everything that decides the next training step, gathered in one object that can be saved."""

import warnings
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from course_utils.checkpoint.undo import Undo
from course_utils.errors import CheckpointWriteError, MismatchedCheckpointError
from course_utils.resume.as_built import AsBuilt
from course_utils.resume.gradients import Gradients, restore
from course_utils.resume.misfits import as_text, missing, tensor_misfits
from course_utils.resume.optimizers import OptimizerPart
from course_utils.resume.parameters import (
    named_here,
    named_parameters,
    order_misfits,
    parameter_order,
    refuse_lost_parameters,
)
from course_utils.resume.parts import (
    NAMED,
    NOTHING,
    Findings,
    ModulePart,
    SchedulerPart,
    in_order,
    part_for,
)
from course_utils.resume.plain import as_numpy, copied, whole_number
from course_utils.resume.rng import RngState
from course_utils.resume.sampler import sampler_of
from course_utils.resume.settings import align_base_lrs, changes, keep_settings, settings_of
from course_utils.resume.stateful import Stateful

COUNTERS = ("epoch", "step")
NOTES = ("parameter_order", "about", "gradients")  # what a state holds besides parts and counters


class TrainState:
    """Gathers what exact resume needs; ``state_dict()`` passes ``weights_only=True``.

    The generators of Python, NumPy and PyTorch are always part of it, and so are the gradients that
    the next optimizer step may still use.

    Args:
        model: the module in training. Wrapped by `torch.compile` or DDP it is saved unwrapped.
        optimizer: built over the parameters of the modules that are parts.
        scheduler: of the learning rate, if there is one.
        scaler: a `torch.amp.GradScaler`, if there is one.
        ema: a `torch.optim.swa_utils.AveragedModel`, if there is one.
        sampler: a `ResumableSampler` or any other `Stateful` that knows the position in the data;
            or the `DataLoader` with it, which is looked at for what would spoil an exact resume.
        parts: any number of others under names of their own: optimizers, schedulers, modules,
            parameters, generators, `Stateful` objects, and plain values such as ``tokens=0``.

    Attributes:
        epoch: epochs completed.
        step: optimizer steps completed.
        parts: the other parts by name; a plain value is read and set here.

    Raises:
        TypeError: a scheduler, scaler, average or sampler has no state that could be saved.

    Warns:
        UserWarning: the loader hands out batches in another order than the sampler's, or draws
            from the global generator.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        *,
        scheduler: Stateful | None = None,
        scaler: Stateful | None = None,
        ema: Stateful | None = None,
        sampler: "Stateful | DataLoader[Any] | None" = None,
        **parts: Any,
    ) -> None:
        if taken := sorted(parts.keys() & {*NAMED, *COUNTERS, *NOTES}):
            raise ValueError(f"these names are taken: {', '.join(taken)}")
        self.model, self.optimizer = model, optimizer
        # Any: a training loop calls the parts' own methods, such as scheduler.step().
        self.scheduler: Any = scheduler
        self.scaler: Any = scaler
        self.ema: Any = ema
        self.sampler: Any = sampler_of(sampler)
        self.rng = RngState()
        self.parts = parts
        self.epoch = 0
        self.step = 0
        self._gradients = Gradients(self._things().values())
        self._settings = self._settings_here()
        self._built = AsBuilt(self._things())

    def state_dict(self) -> dict[str, Any]:
        """Return the state of every part. Its tensors are live: save it before the next step.

        Raises:
            CheckpointWriteError: it could be saved, but not restored; the message says why.

        Warns:
            UserWarning: once of each reason why a run that loads it may not be the same run:
                training changed what no part holds, such as attributes and buffers that are not
                persistent; a scheduler or an optimizer is no part; or the run is built otherwise
                than when this object was made.
        """
        numbers: dict[str, str] = {}
        parts = {name: part.state(numbers) for name, part in self._kinds().items()}
        counters = {name: getattr(self, name) for name in COUNTERS}
        order = parameter_order(self._things())
        about = {"torch": str(torch.__version__), "settings": copied(self._settings)}
        about |= {"numpy": numbers} if numbers else {}
        state = {**counters, "parameter_order": order, "about": about, **parts}
        if gradients := self._gradients.unfinished(self._parameters()):
            state["gradients"] = gradients
        refuse_lost_parameters(order)
        if problems := self._check(state, ())[0]:
            raise CheckpointWriteError("\n".join(["this state could not be restored:", *problems]))
        self._built.warn(self._things(), state)
        return state | {name: whole_number(state[name]) for name in COUNTERS}

    def load_state_dict(self, state: Mapping[str, Any], *, keep: Collection[str] = ()) -> None:
        """Restore every part, after checking that all of them fit; or, if one fails, none.

        The state is copied: it can be loaded once more. Gradients that are not in it are dropped.

        Args:
            state: what ``state_dict`` returned, saved and loaded.
            keep: names of parts. Of an optimizer or a scheduler, the settings stay as they are
                here where they were changed since, such as ``lr`` or ``T_max``; of the optimizer,
                also a schedule's start. A part that is not in the checkpoint stays as it is, and
                one that has no place here is passed over.

        Raises:
            MismatchedCheckpointError: a part or a name in it is missing or has no place here, or
                a shape, a dtype or the order of the optimizer's parameters differs, or a part
                refused its state. Nothing has been changed.

        Warns:
            UserWarning: a setting was changed since the save, or an entry of a part is on one side
                only, as after a change of PyTorch's version.
        """
        self._restore(copied(dict(state)), keep)

    def in_place(self) -> dict[str, nn.Module | Optimizer]:
        """Return the parts whose tensors may be filled where they are, for `restore_checkpoint`."""
        kinds = self._kinds()
        return {n: k.thing for n, k in kinds.items() if isinstance(k, ModulePart | OptimizerPart)}

    def rehearse(self, state: dict[str, Any]) -> None:
        """Load everything but the parts of ``in_place`` from a state, and put it all back.

        Args:
            state: as for ``load_state_dict``; of the parts of ``in_place``, only names, shapes and
                dtypes are looked at.

        Raises:
            MismatchedCheckpointError: as for ``load_state_dict``. Nothing has been changed.
        """
        problems, self._rehearsed = self._check(state, ())
        if problems:
            raise MismatchedCheckpointError(as_text(problems))
        large = self.in_place()
        rest = {name: copied(value) for name, value in state.items() if name not in large}
        undo, failure = Undo(), None
        try:
            self._load(rest, undo, ())
        except MismatchedCheckpointError as error:
            failure = error
        outcome = undo.back()
        if failure:
            raise MismatchedCheckpointError(f"{failure}; {outcome}") from failure

    def load_filled(self, state: dict[str, Any]) -> None:
        """Restore, the tensors of the parts of ``in_place`` having been filled where they are.

        Args:
            state: as for ``load_state_dict``, and nobody else's. It has been rehearsed.

        Raises:
            MismatchedCheckpointError: a part that took its state in the rehearsal refuses it now.
        """
        self._restore(state, (), filled=self.in_place().keys())

    def _restore(
        self,
        state: dict[str, Any],
        keep: Collection[str],
        agreed: Callable[[str], str] = lambda failure: failure,
        filled: Collection[str] = (),
    ) -> None:
        """Restore from a state that is nobody else's.

        Args:
            state: what to restore.
            keep: as for ``load_state_dict``.
            agreed: from a failure here, or an empty string, to the first anywhere.
            filled: names of parts that hold their new values already.
        """
        problems, notes = ([], self._rehearsed) if filled else self._check(state, keep)
        if text := agreed(as_text(problems)):
            raise MismatchedCheckpointError(text)
        about = state.get("about", {})
        settings = about.get("settings", {})
        notes += changes(settings, self._settings, keep)
        if numbers := about.get("numpy"):
            for name in self._things().keys() & state.keys():
                state[name] = as_numpy(state[name], name, numbers)
        keep_settings(state, settings, self._settings, keep)
        undo, failure = Undo(), None
        try:
            self._load(state, undo, keep, filled)
        except MismatchedCheckpointError as error:
            failure = error
        if text := agreed(str(failure or "")):
            outcome = undo.back()
            if filled:
                outcome = f"{', '.join(filled)} hold new values now. Load again."
            raise MismatchedCheckpointError(f"{text}; {outcome}") from failure
        self._built.restored()
        self.epoch, self.step = (whole_number(state[name]) or 0 for name in COUNTERS)
        kept = {name: here for name, here in self._settings.items() if name in keep}
        self._settings = {**self._settings, **settings, **kept}
        if notes:
            saved_by = about.get("torch", "an earlier build")
            lines = [f"the checkpoint (PyTorch {saved_by}; here {torch.__version__}):", *notes]
            warnings.warn("\n".join(lines), stacklevel=3)

    def _load(
        self,
        state: dict[str, Any],
        undo: Undo,
        keep: Collection[str],
        filled: Collection[str] = (),
    ) -> None:
        """Load all parts, each with a way back unless it is filled already."""
        kinds, parameters = self._kinds(state), self._parameters()
        name = "rng"
        try:
            undo.add(name, kinds["rng"].remember())  # the first is the last to be put back
            gradients = {name: parameter.grad for name, parameter in parameters.items()}
            undo.add("gradients", partial(restore, parameters, gradients))
            for name in in_order(kinds):
                if name in state:
                    if name not in filled:
                        undo.add(name, kinds[name].remember())
                    kinds[name].load(state[name])
            align_base_lrs(kinds, keep)
            name = "gradients"  # of layers that were lazy, too
            restore(parameters, named_here(state.get("gradients", {}), parameters))
        except Exception as error:
            raise MismatchedCheckpointError(
                f"{name} could not be restored ({type(error).__name__}: {error})"
            ) from error

    def _things(self) -> dict[str, Any]:
        named = {name: getattr(self, name) for name in NAMED}
        return {name: thing for name, thing in named.items() if thing is not None} | self.parts

    def _kinds(self, state: Mapping[str, Any] = NOTHING) -> dict[str, Any]:
        things = self._things().items()
        return {name: part_for(name, thing, self.parts, state) for name, thing in things}

    def _parameters(self) -> dict[str, Tensor]:
        return named_parameters(self._things())

    def _check(self, state: Mapping[str, Any], keep: Collection[str]) -> Findings:
        """What keeps a state from being restored, and what only needs saying."""
        kinds = self._kinds(state)
        wanted = [*COUNTERS, "parameter_order", *(name for name in kinds if name not in keep)]
        problems = missing(state, wanted, {*NOTES, *kinds, *keep})
        if problems:
            return problems, []
        notes: list[str] = []
        for name in COUNTERS:
            if whole_number(state[name]) is None:
                problems.append(f"- {name} is {state[name]!r}, not a number")
        for name in kinds.keys() & state.keys():
            found = kinds[name].check(state[name])
            problems, notes = problems + found[0], notes + found[1]
        problems += order_misfits(state["parameter_order"], parameter_order(self._things()))
        gradients = named_here(state.get("gradients", {}), self._parameters())
        parameters = {n: p for n, p in self._parameters().items() if n in gradients}
        return problems + tensor_misfits("gradients", parameters, gradients), notes

    def _settings_here(self) -> dict[str, Any]:
        return {
            name: settings_of(part.thing)
            for name, part in self._kinds().items()
            if isinstance(part, OptimizerPart | SchedulerPart)
        }
