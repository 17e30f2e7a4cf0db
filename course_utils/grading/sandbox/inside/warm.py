"""What a first call costs, paid once: in the process that all submissions are forked from.

Each question is put to a fresh fork, so an import that PyTorch leaves to the first save, step or
export would be made by every one of them. Nothing here knows an exercise.
"""

import importlib
import os
import pkgutil
import tempfile
import warnings
from io import BytesIO

import torch
from torch import nn

LATE = ("torch._dynamo", "torch._inductor.utils", "tqdm", "matplotlib.pyplot", "fsspec")
OPTIMIZERS = ("SGD", "Adam", "AdamW")


def warm_up() -> None:
    """Import what is imported late, and do once what most answers do."""
    for name in (*LATE, *_probes()):
        importlib.import_module(name)
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")
        model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.ReLU())
        for name in OPTIMIZERS:
            _train(model, name)
        _save(model)
        _export(model.eval())


def _train(model: nn.Module, name: str) -> None:
    optimizer = getattr(torch.optim, name)(model.parameters(), lr=0.1)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    for _ in range(2):
        optimizer.zero_grad()
        model(torch.randn(2, 3)).square().mean().backward()
        optimizer.step()
        scheduler.step()
    optimizer.load_state_dict(optimizer.state_dict())


def _save(model: nn.Module) -> None:
    import torch.distributed.checkpoint as dcp

    file = BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    model.load_state_dict(torch.load(file, weights_only=True))
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "file")
        torch.save(model.state_dict(), path)
        torch.load(path, weights_only=True, mmap=True)
        dcp.save(model.state_dict(), checkpoint_id=os.path.join(folder, "dcp"), no_dist=True)
        dcp.load(model.state_dict(), checkpoint_id=os.path.join(folder, "dcp"), no_dist=True)
    with torch.device("meta"):
        nn.Linear(3, 4).to_empty(device="cpu")


def _export(model: nn.Module) -> None:
    example = torch.randn(2, 3)
    for program in (torch.jit.script(model), torch.jit.trace(model, example)):
        file = BytesIO()
        torch.jit.save(program, file)
        file.seek(0)
        torch.jit.load(file)(example)
    exported = torch.export.export(
        model, (example,), dynamic_shapes=({0: torch.export.Dim("batch")},)
    )
    file = BytesIO()
    torch.export.save(exported, file)
    file.seek(0)
    torch.export.load(file).module()(example)


def _probes() -> list[str]:
    package = importlib.import_module("course_utils.grading.exercises")
    return [
        f"{package.__name__}.{module.name}" for module in pkgutil.iter_modules(package.__path__)
    ]
