"""The global random number generators: seed them all, save them all, restore them all."""

import random
import warnings
from typing import Any

import numpy as np
import torch


def seed_everything(seed: int) -> None:
    """Seed the global generators of Python, NumPy and PyTorch (all devices)."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - the global generator is what training code still uses
    torch.manual_seed(seed)


class RngState:
    """The global generators of Python, NumPy, PyTorch and every CUDA device, as one object.

    Its state holds tensors, numbers and lists only, so ``torch.load(weights_only=True)`` takes
    it; NumPy's own ``get_state()`` would be refused.
    """

    def state_dict(self) -> dict[str, Any]:
        """Return copies of the generators' states."""
        version, words, gauss = random.getstate()
        _, keys, position, has_gauss, cached = np.random.get_state()  # noqa: NPY002
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
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put the generators back.

        Tensors may lie on any device: a ``map_location`` has often moved them.

        Warns:
            UserWarning: the file has another number of CUDA generators than this machine;
                random numbers drawn on GPUs will not continue where they stopped.
        """
        python, numpy = state["python"], state["numpy"]
        random.setstate((python["version"], tuple(python["words"].tolist()), python["gauss"]))
        keys = numpy["keys"].cpu().numpy().astype(np.uint32)
        np.random.set_state(  # noqa: NPY002
            ("MT19937", keys, numpy["position"], numpy["has_gauss"], numpy["cached_gaussian"])
        )
        torch.set_rng_state(state["torch"].cpu())
        devices = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if len(state["cuda"]) != devices:
            warnings.warn(
                f"the checkpoint has the generators of {len(state['cuda'])} GPUs and this machine "
                f"has {devices}: random numbers drawn on GPUs will differ from here on",
                stacklevel=2,
            )
        else:
            torch.cuda.set_rng_state_all([generator.cpu() for generator in state["cuda"]])
