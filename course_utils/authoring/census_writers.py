"""Files that others made, for the census: shipped in packages, written by libraries, by tests.

Each function writes files into a folder with the library it is named after; what a library lacks
here, it does not write. All is made anew from fixed seeds.
"""

import importlib.util
import io
import itertools
import pickle
import random
import subprocess
import sys
import sysconfig
import tarfile
import types
import zipfile
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from course_utils.authoring.census_frameworks import FRAMEWORKS, MOST
from course_utils.authoring.census_others import OTHERS

TOOLS = ("picklescan", "modelscan", "fickling")  # whose tests make files


def shipped(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield files of installed packages that a tool for checkpoints might be pointed at."""
    site = Path(sysconfig.get_paths()["purelib"])
    found: dict[str, list[Path]] = defaultdict(list)
    for path in site.rglob("*"):
        if path.is_file() and path.suffix not in _CODE and _is_container(path):
            found[path.relative_to(site).parts[0]].append(path)
    for package, paths in sorted(found.items()):
        for path in random.Random(0).sample(sorted(paths), min(MOST, len(paths))):
            yield package, path


_CODE = {".py", ".pyc", ".so", ".h", ".txt", ".json", ".js", ".html", ".css", ".pyi", ".md"}


def _is_container(path: Path) -> bool:
    with open(path, "rb") as file:
        start = file.read(512)
    pickled = start[:1] == b"\x80" and start[1:2] < b"\x06"
    magic = start.startswith((b"PK\3\4", b"\x93NUMPY", b"GGUF", b"\x89HDF"))
    return pickled or magic or start[257:262] == b"ustar" or path.suffix in {".onnx", ".pb"}


def tests_of_tools(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield what the tests of other scanners make: their sources come from PyPI, if they can."""
    for tool in TOOLS:
        place = folder / f"sources-{tool}"
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", tool]
        done = subprocess.run([*command, "-d", place, tool], capture_output=True, check=False)
        if done.returncode:
            print(f"{tool}: its sources could not be had")
            continue
        (archive,) = place.glob("*.tar.gz")
        with tarfile.open(archive) as file:
            file.extractall(place, filter="data")
        run = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--basetemp"]
        for root in place.iterdir():
            if root.is_dir():
                temporary = place / "temporary"
                subprocess.run([*run, temporary], cwd=root, capture_output=True, check=False)
        paths = sorted(p for p in place.rglob("*") if p.is_file() and p.suffix not in _CODE)
        found = [path for path in paths if _is_container(path) and path != archive]
        if not found:
            print(f"{tool}: its sources hold no files to read, and no test of them wrote one")
        for path in found[:MOST]:
            yield tool, path


def written(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield files that the installed libraries write."""
    for name, write in _WRITERS.items():
        if importlib.util.find_spec(name) is None:
            print(f"{name} is not installed")
            continue
        place = folder / f"written-{name}"
        place.mkdir()
        try:
            write(place)
        except Exception as error:  # what it has written counts; what it did not is said
            print(f"{name} wrote less than it was asked to: {error!r}")
        paths = sorted(p for p in place.rglob("*") if p.is_file() and p.suffix not in _CODE)
        for path in random.Random(1).sample(paths, min(MOST, len(paths))):
            yield name, path


def _torch(folder: Path) -> None:
    import torch

    from course_utils.formats.dtypes import ITEMSIZE

    dtypes = [d for d in (getattr(torch, n, None) for n in ITEMSIZE) if d is not None]
    plain = [d for d in dtypes if d.itemsize and not str(d).startswith(("torch.q", "torch.bits"))]
    kinds: list[dict[str, Any]] = [
        {}, {"pickle_protocol": 3}, {"pickle_protocol": 4}, {"pickle_protocol": 5},
        {"_use_new_zipfile_serialization": False},
    ]  # fmt: skip
    combinations = list(itertools.product(plain, _torch_states(), kinds))
    random.Random(2).shuffle(combinations)
    number = 0
    for dtype, state, options in combinations:
        try:
            base = torch.arange(24).to(torch.uint8).view(4, 6)
            base = base.to(dtype) if dtype != torch.float8_e8m0fnu else base.view(dtype)
            torch.save(state(base), folder / f"{number}.pt", **options)
        except (RuntimeError, NotImplementedError, TypeError, AttributeError, ValueError):
            continue  # what torch itself cannot make or save
        number += 1
        if number == MOST:
            return


def _torch_states() -> list[Callable[[Any], Any]]:
    import torch
    from torch import nn

    return [
        lambda t: {"w": t},
        lambda t: OrderedDict(a=t, b=t),
        lambda t: {"model": {"w": t.t()}, "epoch": 3, "lr": 0.1},
        lambda t: {"view": t[1:3], "rest": t[0]},
        lambda t: [t[:, ::2], (t, None)],
        lambda t: t.new_empty((0, 3)),
        lambda t: {"scalar": t[0, 0], "wide": t[:1].expand(5, 6)},
        lambda t: {"p": nn.Parameter(t), "counter": Counter("aab"), "size": t.shape},
        lambda t: {"conj": t.conj(), "real": torch.ones(2)},
        lambda t: {"sparse": t.to_sparse(), "dense": t},
        lambda t: {"meta": t.to("meta"), "dtype": t.dtype, "set": {1, 2}},
        lambda t: {"storage": t.untyped_storage(), "bytes": b"abc", "z": 1 + 2j},
        lambda t: nn.Linear(2, 3).state_dict() | {"t": t},
        lambda t: torch.optim.Adam([nn.Parameter(torch.ones(2))]).state_dict() | {"t": t},
    ]


def _safetensors(folder: Path) -> None:
    import torch
    from safetensors.torch import save_file

    rng = random.Random(3)
    dtypes = [getattr(torch, n) for n in _SAFE if hasattr(torch, n)]
    for number in range(MOST):
        tensors = {}
        for index in range(rng.randrange(6)):
            shape = [rng.randrange(4) for _ in range(rng.randrange(4))]
            values = torch.zeros(shape, dtype=torch.uint8)
            dtype = rng.choice(dtypes)
            tensors[f"{rng.choice('abc')}.{index}"] = torch.zeros_like(values).to(dtype)
        metadata = {"format": "pt", "n": "x" * rng.randrange(200)} if number % 2 else None
        save_file(tensors, folder / f"{number}.safetensors", metadata)


_SAFE = [
    "float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool",
    "uint16", "uint32", "uint64", "float8_e4m3fn", "float8_e5m2", "complex64",
]  # fmt: skip


def _numpy(folder: Path) -> None:
    import numpy as np

    rng, shapes = random.Random(4), ((), (1,), (2, 3), (3, 1, 2))
    layouts: list[Any] = ["C", "F"]
    kinds = ["f2", "f4", "f8", "i1", "i4", "i8", "u2", "b1", "c8", "U3", "S2", "M8[s]", "O", ">f4"]
    for number in range(MOST):
        arrays = [
            np.zeros(rng.choice(shapes)).T.astype(rng.choice(kinds), rng.choice(layouts))
            for _ in range(rng.randrange(1, 4))
        ]  # fmt: skip
        write = rng.choice([np.savez, np.savez_compressed, None])
        if write is None:
            np.save(folder / f"{number}.npy", arrays[0])
        else:
            write(folder / f"{number}.npz", *arrays)


def _pickle(folder: Path) -> None:
    rng = random.Random(5)
    values: list[Any] = [
        {"a": 1, "b": [1.5, None, True]}, [b"x" * 300, "y" * 70000], {1, 2}, frozenset({3}),
        types.SimpleNamespace(a=1), Path("a/b"), OrderedDict(a=1), Counter("aab"), 2**70, 1 + 2j,
        range(3), print, len, dict, ValueError("x"), bytearray(b"z"), slice(1, 2),
        random.Random(1), defaultdict(list, a=[1]), (1, (2, (3,))), {"deep": [[[[[]]]]]},
    ]  # fmt: skip
    for number in range(MOST):
        chosen = rng.sample(values, rng.randrange(1, 4))
        data = [pickle.dumps(v, protocol=rng.randrange(6)) for v in chosen]
        (folder / f"{number}.pkl").write_bytes(b"".join(data[: rng.randrange(1, 3)]))


def _zipfile(folder: Path) -> None:
    rng = random.Random(7)
    methods = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
    for number in range(MOST):
        with zipfile.ZipFile(folder / f"{number}.zip", "w", rng.choice(methods)) as file:
            for index in range(rng.randrange(5)):
                name = rng.choice(["a/{}.txt", "{}.bin", "x/y/{}.pkl", "data/{}", "{}.npy"])
                value = pickle.dumps(rng.random()) if name.endswith("pkl") else b"abc" * 50
                file.writestr(name.format(index), value)


def _tarfile(folder: Path) -> None:
    rng = random.Random(8)
    for number in range(180):
        style = rng.choice([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
        with tarfile.open(folder / f"{number}.tar", "w", format=style) as file:
            for index in range(rng.randrange(1, 4)):
                data = pickle.dumps(index) if rng.random() < 0.5 else b"text"
                member = tarfile.TarInfo(
                    rng.choice(["a", "dir/b", "pickle", "storages"]) + str(index)
                )
                member.size = len(data)
                file.addfile(member, io.BytesIO(data))


_WRITERS: dict[str, Callable[[Path], None]] = {
    "torch": _torch, "safetensors": _safetensors, "numpy": _numpy, "pickle": _pickle,
    "zipfile": _zipfile, "tarfile": _tarfile, **FRAMEWORKS, **OTHERS,
}  # fmt: skip
