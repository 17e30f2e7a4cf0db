"""Compiles C++ programs against the libtorch inside the installed wheel, and runs them."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import torch
from torch import Tensor

CPP = Path(__file__).with_name("cpp")
TORCH = Path(torch.__file__).parent
COMPILERS = ("g++", "clang++", "c++")


class NoCompilerError(RuntimeError):
    """There is no compiler for C++20 here, or it cannot build against libtorch."""


def find_compiler() -> str:
    """Return a C++ compiler: the environment's ``CXX``, or else g++ or clang++.

    Raises:
        NoCompilerError: none was found; the message says how to install one.
    """
    for name in (os.environ.get("CXX"), *COMPILERS):
        if name and shutil.which(name):
            return name
    raise NoCompilerError(
        "no C++ compiler found. On Debian or Ubuntu: sudo apt install g++; "
        "on macOS: xcode-select --install"
    )


def build_runner(folder: str | os.PathLike[str], source: str = "run_module.cpp") -> Path:
    """Compile one of the course's C++ programs, unless the folder has it already.

    The name holds a hash of the sources, the compiler and torch's version, so a program that is
    there is up to date. A first build takes 10 to 30 seconds.

    Args:
        folder: for the program; created if missing.
        source: a file in ``course_utils/cpp``.

    Returns:
        The path of the program.

    Raises:
        NoCompilerError: no compiler, or it failed; the message holds what it said.
    """
    command = [find_compiler(), *_flags(), str(CPP / source)]
    texts = [(CPP / name).read_bytes() for name in (source, "command.h")]
    content = b"".join(texts) + "\0".join([*command, torch.__version__]).encode()
    digest = hashlib.sha256(content).hexdigest()[:16]
    program = Path(folder) / f"{Path(source).stem}-{digest}"
    if program.exists():
        return program
    program.parent.mkdir(parents=True, exist_ok=True)
    unfinished = program.with_suffix(f".{os.getpid()}")
    built = subprocess.run(
        [*command, *_libraries(), "-o", str(unfinished)], capture_output=True, text=True
    )
    if built.returncode:
        raise NoCompilerError(
            f"{command[0]} could not build {source}; it needs C++20 "
            f"(g++ 11, clang 14 or later). It said:\n{built.stderr[-2000:]}"
        )
    os.replace(unfinished, program)  # a build that was killed leaves no half program behind
    return program


def run_in_cpp(program: Path, model: Path, batch: Tensor, folder: Path) -> Tensor:
    """Run a model on a batch in a C++ program; return its output.

    Args:
        program: from `build_runner`.
        model: the file it loads: TorchScript for run_module, a package for run_package.
        batch: its only input, on the CPU.
        folder: for the files that carry the tensors over and back.

    Raises:
        RuntimeError: the program failed; the message holds what it said.
    """
    sent, received = folder / "input.pt", folder / "output.pt"
    torch.save(batch, sent)
    ran = subprocess.run([program, model, sent, received], capture_output=True, text=True)
    if ran.returncode:
        lines = ran.stderr.strip().splitlines() or [f"exit status {ran.returncode}"]
        # Between first and last, TorchScript prints where in Python the module was traced.
        raise RuntimeError(
            "the C++ program failed: " + " … ".join(dict.fromkeys([lines[0], lines[-1]]))
        )
    return torch.load(received, weights_only=True)


def _flags() -> list[str]:
    include = TORCH / "include"
    folders = (include, include / "torch" / "csrc" / "api" / "include")
    abi = int(torch._C._GLIBCXX_USE_CXX11_ABI)
    return [
        "-std=c++20",
        "-O1",
        f"-D_GLIBCXX_USE_CXX11_ABI={abi}",
        *(f"-isystem{f}" for f in folders),
    ]


def _libraries() -> list[str]:
    # The linker sees no direct use of some libraries that register operators when loaded.
    keep = [] if sys.platform == "darwin" else ["-Wl,--no-as-needed"]
    library = TORCH / "lib"
    return [f"-L{library}", f"-Wl,-rpath,{library}", *keep, "-ltorch", "-ltorch_cpu", "-lc10"]
