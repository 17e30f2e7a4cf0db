"""The global random number generators: seed them all, save them all, restore them all."""

import random
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor


def seed_everything(seed: int) -> None:
    """Seed the global generators of Python, NumPy and PyTorch (all devices)."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


class RngState:
    """The global generators of Python, NumPy, PyTorch and every GPU, as one object.

    GPUs of CUDA (and ROCm), XPU and MPS. Tested with stand-ins but for the first two.

    Its state holds tensors, numbers and lists only, so ``torch.load(weights_only=True)`` takes
    it; NumPy's own ``get_state()`` would be refused.
    """

    def state_dict(self) -> dict[str, Any]:
        """Return copies of the generators' states."""
        version, words, gauss = random.getstate()
        _, keys, position, has_gauss, cached = np.random.get_state()
        return {
            "python": {
                "version": version,
                "words": torch.tensor(words, device="cpu"),
                "gauss": gauss,
            },
            "numpy": {
                "keys": torch.from_numpy(np.asarray(keys, dtype=np.int64)),
                "position": int(position),
                "has_gauss": int(has_gauss),
                "cached_gaussian": float(cached),
            },
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
            **({"xpu": torch.xpu.get_rng_state_all()} if torch.xpu.is_available() else {}),
            **({"mps": [torch.mps.get_rng_state()]} if torch.backends.mps.is_available() else {}),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put the generators back.

        Tensors may lie on any device: a ``map_location`` has often moved them.

        Warns:
            UserWarning: the file has another number of GPUs' generators than this machine;
                random numbers drawn on GPUs will not continue where they stopped.
        """
        python, numpy = state["python"], state["numpy"]
        random.setstate((python["version"], tuple(python["words"].tolist()), python["gauss"]))
        keys = numpy["keys"].cpu().numpy().astype(np.uint32)
        np.random.set_state(
            ("MT19937", keys, numpy["position"], numpy["has_gauss"], numpy["cached_gaussian"])
        )
        torch.set_rng_state(state["torch"].cpu())
        for kind, restore in GPUS.items():
            _restore_gpus(kind, [generator.cpu() for generator in state.get(kind, [])], restore)


class OwnGenerator:
    """A generator of one's own, restored where it is: a loader may hold it.

    Args:
        generator: a `torch.Generator`, `numpy.random.Generator`, `numpy.random.RandomState` or
            `random.Random`.
    """

    def __init__(self, generator: Any) -> None:
        self.generator = generator

    def state_dict(self) -> dict[str, Any]:
        """Return its state; NumPy's arrays as tensors."""
        generator = self.generator
        if isinstance(generator, torch.Generator):
            return {"state": generator.get_state()}
        if isinstance(generator, np.random.Generator):
            return {"state": _with(torch.from_numpy, np.ndarray, generator.bit_generator.state)}
        if isinstance(generator, np.random.RandomState):
            return {"state": _with(torch.from_numpy, np.ndarray, generator.get_state(legacy=False))}
        return {"state": generator.getstate()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put it back."""
        generator, saved = self.generator, state["state"]
        if isinstance(generator, torch.Generator):
            generator.set_state(saved.cpu())
        elif isinstance(generator, np.random.Generator):
            generator.bit_generator.state = _with(lambda t: t.cpu().numpy(), Tensor, saved)
        elif isinstance(generator, np.random.RandomState):
            generator.set_state(_with(lambda t: t.cpu().numpy(), Tensor, saved))
        else:
            generator.setstate(saved)


def is_generator(thing: Any) -> bool:
    """Whether a thing is a generator whose state can be saved; the system's has none."""
    kinds = (torch.Generator, np.random.Generator, np.random.RandomState, random.Random)
    return isinstance(thing, kinds) and not isinstance(thing, random.SystemRandom)


def _with(change: Callable[[Any], Any], kind: type, state: Mapping[str, Any]) -> dict[str, Any]:
    """Change all values of one kind in a state."""

    def changed(value: Any) -> Any:
        if isinstance(value, dict):
            return _with(change, kind, value)
        return change(value) if isinstance(value, kind) else value

    return {name: changed(value) for name, value in state.items()}


def _restore_gpus(
    kind: str, saved: list[Tensor], restore: Callable[[list[Tensor]], object]
) -> None:
    devices = _count(kind)
    if len(saved) != devices:
        warnings.warn(
            f"the checkpoint has the generators of {len(saved)} {kind.upper()} GPUs and this "
            f"machine has {devices}: random numbers drawn on GPUs will differ from here on",
            stacklevel=3,
        )
    elif devices:
        restore(saved)


def _count(kind: str) -> int:
    if kind == "mps":
        return int(torch.backends.mps.is_available())
    module = getattr(torch, kind)
    return module.device_count() if module.is_available() else 0


GPUS: dict[str, Callable[[list[Tensor]], object]] = {
    "cuda": lambda states: torch.cuda.set_rng_state_all(states),
    "xpu": lambda states: torch.xpu.set_rng_state_all(states),
    "mps": lambda states: torch.mps.set_rng_state(states[0]),
}
