"""Puts the explorer together: the page, Pyodide, the course's package, examples."""

import hashlib
import json
import shutil
import zipfile
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
SERVED = (
    "pyodide.mjs", "pyodide.asm.mjs", "pyodide.asm.wasm", "pyodide-lock.json", "python_stdlib.zip",
    "README.md",
)  # fmt: skip
WINGS = ("formats", "files", "ckpt", "safety")  # what runs without torch
PAGE = (
    "index.html", "style.css", "page.js", "reader.js", "tree.js", "map.js", "tables.js", "words.js",
    "worker.js", "python.js",
)  # fmt: skip


def bundle(out: Path) -> None:
    """Write the explorer into a folder.

    Raises:
        RuntimeError: Pyodide is not there.
    """
    out.mkdir(parents=True)
    for name in PAGE:
        shutil.copy(HERE / "explorer" / name, out)
    copy_pyodide(out / "pyodide")
    shutil.copy(HERE / "explorer" / "MPL-2.0.txt", out / "pyodide" / "LICENSE")
    pack_package(out / "package.zip")
    write_examples(out / "examples")
    write_service_worker(out)


def copy_pyodide(folder: Path) -> None:
    """Copy what a browser loads of Pyodide."""
    source = HERE / "node_modules" / "pyodide"  # pinned, with its hash, in package-lock.json
    if not source.exists():
        raise RuntimeError("Pyodide is not there yet: `make wasm` fetches it (needs Node.js)")
    folder.mkdir()
    for name in SERVED:
        shutil.copy(source / name, folder)


def pack_package(target: Path) -> None:
    """Zip the course's wings that read files, unchanged, and what they use of others."""
    course = ROOT / "course_utils"
    files = [(path, path.relative_to(ROOT)) for path in course.glob("*.py")]
    for wing in WINGS:
        files += [(path, path.relative_to(ROOT)) for path in (course / wing).rglob("*.py")]
    spec = find_spec("rich")  # how wide the letters of a table are
    assert spec is not None
    assert spec.origin is not None
    rich = Path(spec.origin).parent
    for path in [rich / "__init__.py", rich / "_extension.py", rich / "cells.py",
                 *rich.glob("_cell*.py"), *rich.glob("_unicode_data/*.py")]:  # fmt: skip
        files.append((path, path.relative_to(rich.parent)))
    files.append((HERE / "explorer" / "explorer.py", Path("explorer.py")))
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, name in sorted(files, key=lambda pair: pair[1]):
            entry = zipfile.ZipInfo(name.as_posix())  # without a date: the same bytes each time
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, path.read_bytes())


def write_examples(folder: Path) -> None:
    """Write the files that the page offers to those who have none at hand."""
    import pickle

    import torch
    from safetensors.torch import save_file
    from torch import nn

    folder.mkdir()
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    torch.save(model.state_dict(), folder / "weights.pt")
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.rand(4, 64)).sum().backward()
    optimizer.step()
    run = {"model": {f"module.{name}": value for name, value in model.state_dict().items()}}
    run |= {"optimizer": optimizer.state_dict(), "step": 100, "rows": torch.rand(20_000, 4)[:10]}
    torch.save(run, folder / "training run.pt")
    tied = {"encoder.weight": torch.rand(8, 4), "encoder.bias": torch.rand(8)}
    save_file(tied, folder / "tied.safetensors", {"decoder.weight": "encoder.weight"})
    damaged = bytearray((folder / "weights.pt").read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (folder / "damaged.pt").write_bytes(damaged)
    (folder / "stranger.pt").write_bytes(pickle.dumps(_Stranger(), protocol=2))


class _Stranger:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return eval, ("print('this would run')",)


def write_service_worker(out: Path) -> None:
    """Write the worker that keeps all files, under a name that changes when one of them does."""
    files = sorted(path for path in out.rglob("*") if path.is_file())
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:16]
    names = ["./", *(path.relative_to(out).as_posix() for path in files)]
    text = (HERE / "explorer" / "service-worker.js").read_text(encoding="utf-8")
    text = text.replace("VERSION", digest).replace("FILES_HERE", json.dumps(names))
    (out / "service-worker.js").write_text(text, encoding="utf-8")
