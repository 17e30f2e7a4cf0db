"""Make ``saved_on_gpu.pt``: a small checkpoint whose tensors carry real ``cuda:0`` tags.

    python notebooks/data/make_cuda_checkpoint.py FOLDER            # needs a CUDA GPU
    python notebooks/data/make_cuda_checkpoint.py FOLDER --retag    # no GPU: CUDA tags on CPU data

Needs only torch (2.11 or newer) and scikit-learn. The same GPU and the same torch write the
same bytes. The file says itself how it was made, under ``made_on``: lesson 04 prints it.
"""

import argparse
import hashlib
import os
import platform
from pathlib import Path
from unittest import mock

# Set before CUDA starts: with it cuBLAS sums in the same order in every run.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

import torch
from sklearn.datasets import load_digits
from torch import nn

FILE_NAME = "saved_on_gpu.pt"
STEPS = 120


def build_model() -> nn.Sequential:
    """A convolution, BatchNorm (so that buffers are in the file too) and a linear head."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(512, 10),
    )


def train(device: torch.device) -> dict[str, object]:
    """Train for ``STEPS`` batches of real digits; return the checkpoint, tensors on ``device``."""
    torch.manual_seed(0)
    images, labels = load_digits(return_X_y=True)
    images = torch.tensor(images / 16, dtype=torch.float32, device=device).reshape(-1, 1, 8, 8)
    labels = torch.tensor(labels, device=device)
    model = build_model().to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for step in range(STEPS):
        batch = slice(step * 20 % 1200, step * 20 % 1200 + 20)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images[batch]), labels[batch]).backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        held_out = model(images[1200:])
    return {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "check": {"images": images[1200:1208].clone(), "logits": held_out[:8].clone()},
        "accuracy": (held_out.argmax(1) == labels[1200:]).float().mean().item(),
        "made_on": describe(device),
    }


def describe(device: torch.device) -> dict[str, str]:
    """What made the file, as plain strings: nothing a safe load would refuse."""
    on_gpu = device.type == "cuda"
    return {
        "torch": str(torch.__version__),  # the bare TorchVersion object is no plain string
        "python": platform.python_version(),
        "device": torch.cuda.get_device_name(device) if on_gpu else "no GPU: CPU tensors retagged",
    }


def cuda_tag(storage: torch.UntypedStorage) -> str:
    """The tags of the retagged file. Adam keeps its step counters (4 bytes) on the CPU."""
    return "cpu" if storage.nbytes() == 4 else "cuda:0"


def main() -> None:
    """Write the file and print its line for SHA256SUMS."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--retag", action="store_true", help="without a GPU: CUDA tags on CPU data")
    arguments = parser.parse_args()
    if not torch.cuda.is_available() and not arguments.retag:
        parser.error("this machine has no CUDA GPU; --retag makes a stand-in and records that")

    torch.use_deterministic_algorithms(True)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    path = arguments.folder / FILE_NAME
    if arguments.retag:
        checkpoint = train(torch.device("cpu"))
        with mock.patch.object(torch.serialization, "location_tag", cuda_tag):
            torch.save(checkpoint, path)
    else:
        checkpoint = train(torch.device("cuda", 0))
        torch.save(checkpoint, path)
    print(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {FILE_NAME}")
    print(
        f"{path.stat().st_size:,} bytes, accuracy {checkpoint['accuracy']:.3f}, "
        f"{checkpoint['made_on']}"
    )


if __name__ == "__main__":
    main()
