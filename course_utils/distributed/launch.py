"""Start one program in several processes, as ``torchrun`` does, and end it cleanly.

``launch`` is for the process that starts the others: a notebook, a test, a script.
``process_group`` is for the processes it starts.
"""

import os
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist

# Of what ranks print to the console. The option of the same name came with PyTorch 2.14.
PREFIX = {"TORCHELASTIC_LOG_LINE_PREFIX_TEMPLATE": "[rank ${rank}] "}


@dataclass(frozen=True)
class Launch:
    """What a finished launch left behind.

    Attributes:
        status: exit status of the launcher: 0 if every process ended with 0.
        output: for each rank, the lines it wrote to standard output, then those to standard error.
        log: what the launcher itself wrote: which rank failed first, and how.
    """

    status: int
    output: dict[int, list[str]]
    log: list[str]

    def __str__(self) -> str:
        """Show every rank's lines, rank by rank."""
        return "\n".join(f"[rank {r}] {line}" for r, lines in self.output.items() for line in lines)


def launch(
    module: str, *arguments: object, ranks: int, timeout: float = 300, echo: bool = False
) -> Launch:
    """Run ``python -m module arguments…`` in ``ranks`` processes on this machine, and wait.

    Args:
        module: a module's dotted name; its processes call ``process_group``.
        arguments: its command line, each made a string.
        ranks: the number of processes.
        timeout: seconds after which all are ended.
        echo: print each line as it comes, too.

    Raises:
        TimeoutError: it took longer; no process is left running.
    """
    # One thread each: more would fight for the cores, and change the bits of sums.
    settings = {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", **PREFIX}
    with tempfile.TemporaryDirectory() as logs:
        process = subprocess.Popen(
            [*_torchrun(ranks, logs, echo), "-m", module, *map(str, arguments)],
            env=os.environ | settings,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        lines = list(_lines_within(process, timeout, echo))
        output = {rank: _lines_of(rank, Path(logs)) for rank in range(ranks)}
    log = [line for line in lines if not line.startswith("[rank ")]
    return Launch(process.returncode, output, log)


@contextmanager
def process_group() -> Iterator[torch.device]:
    """Join the processes that ``launch`` (or ``torchrun``) started; **end the process** on leaving.

    Gloo carries what is on the CPU, NCCL what is on GPUs, where there are any.

    The interpreter's own shutdown is skipped: about one launch in ten aborts in it, because a
    thread of gloo's still frees Python objects (https://github.com/pytorch/pytorch/issues/190489).
    Nothing after the ``with`` block runs. The exit status is 1 if the block raised.

    Yields:
        The device this rank computes on.
    """
    device = torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    status = 1
    try:
        yield device
        dist.barrier()  # no rank may leave while another still needs it
        dist.destroy_process_group()
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _torchrun(ranks: int, logs: str, echo: bool) -> list[str]:
    options = ["--standalone", f"--nproc-per-node={ranks}", f"--log-dir={logs}"]
    options += ["--tee=3"] if echo else ["--redirects=3"]
    return [sys.executable, "-m", "torch.distributed.run", *options]


def _lines_within(process: subprocess.Popen[str], timeout: float, echo: bool) -> Iterator[str]:
    assert process.stdout is not None
    late = threading.Event()

    def end() -> None:
        late.set()
        process.terminate()  # the launcher ends its processes then; killed, it would leave them

    alarm = threading.Timer(timeout, end)
    alarm.start()
    try:
        for line in process.stdout:
            if echo:
                print(line, end="")
            yield line.rstrip("\n")
        process.wait()
        if late.is_set():
            raise TimeoutError(f"not done after {timeout} seconds: its processes were ended")
    finally:
        alarm.cancel()
        process.terminate()
        process.wait()
        process.stdout.close()


def _lines_of(rank: int, logs: Path) -> list[str]:
    """Read what a rank wrote from the launcher's files; on its console, lines can mix."""
    files = [*logs.glob(f"*/*/{rank}/stdout.log"), *logs.glob(f"*/*/{rank}/stderr.log")]
    return [line for file in files for line in file.read_text(errors="replace").splitlines()]
