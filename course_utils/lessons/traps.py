"""Modules that export badly, each beside one that exports well: lessons 05 and 09."""

import torch
from torch import Tensor, nn


class BranchOnData(nn.Module):
    """Takes one of two ways, by the data: a trace keeps only the way its example took."""

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` if its sum is positive, else ``-x``."""
        if x.sum() > 0:
            return x
        return -x


class BranchInTensors(nn.Module):
    """The same without a branch: both ways are computed, one is picked."""

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` if its sum is positive, else ``-x``."""
        return torch.where(x.sum() > 0, x, -x)


class LoopOverBatch(nn.Module):
    """Loops over the batch: a trace repeats the loop as often as its example had rows."""

    def forward(self, x: Tensor) -> Tensor:
        """Multiply row i of ``x`` by i + 1."""
        rows = []
        for i in range(x.shape[0]):
            rows.append(x[i] * (i + 1))
        return torch.stack(rows)


class NoLoop(nn.Module):
    """The same for the whole batch at once."""

    def forward(self, x: Tensor) -> Tensor:
        """Multiply row i of ``x`` by i + 1."""
        return x * torch.ones_like(x).cumsum(dim=0)


class DeviceConstant(nn.Module):
    """Makes a tensor on ``x.device``: a trace writes down the device its example was on."""

    def forward(self, x: Tensor) -> Tensor:
        """Add 0, 1, 2, … to the columns of ``x``."""
        return x + torch.arange(x.shape[1], device=x.device)


class DeviceFromBuffer(nn.Module):
    """Keeps the tensor as a buffer, which moves with the module.

    Args:
        columns: of the inputs.
    """

    columns: Tensor

    def __init__(self, columns: int) -> None:
        super().__init__()
        self.register_buffer("columns", torch.arange(columns))

    def forward(self, x: Tensor) -> Tensor:
        """Add 0, 1, 2, … to the columns of ``x``."""
        return x + self.columns


class CountsInPython(nn.Module):
    """Counts its calls in a Python attribute: neither a trace nor the file knows of it."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` plus the number of calls so far."""
        self.calls += 1
        return x + self.calls


class CountsInBuffer(nn.Module):
    """Counts in a buffer, which is recorded, saved and loaded."""

    calls: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` plus the number of calls so far."""
        self.calls.add_(1)
        return x + self.calls


class BranchWithCond(nn.Module):
    """The branch as an operation that exporters know: both ways are kept, one is run."""

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` if its sum is positive, else ``-x``."""
        return torch.cond(x.sum() > 0, lambda x: x.clone(), lambda x: -x, (x,))


class WritesWhenLoaded(nn.Module):
    """Makes a file when it is loaded: TorchScript runs ``__setstate__``, and some operators write.

    Args:
        path: of the file.
    """

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    @torch.jit.export
    def __getstate__(self) -> tuple[str, bool]:
        return self.path, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[str, bool]) -> None:
        self.path = state[0]
        one_byte = torch.from_file(self.path, shared=True, size=1, dtype=torch.uint8)
        self.training = one_byte.numel() > 1  # used, so that the compiler keeps it

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x``."""
        return x
