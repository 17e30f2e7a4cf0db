"""What one submission may use. It imports nothing heavy: commands look at it first."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """What one submission may use.

    Attributes:
        memory: bytes, of all its processes together, beyond what Python and PyTorch take.
        tmp: bytes in its /tmp.
        file: bytes in any one file.
        processes: how many at once, threads among them.
        output: bytes its cells may send in all.
        seconds: for each cell, and for each case of an exercise.
        total_seconds: for all cells, and once more for all cases.
    """

    memory: int = 2 * 2**30
    tmp: int = 256 * 2**20
    file: int = 64 * 2**20
    processes: int = 64
    output: int = 96 * 2**20
    seconds: float = 30.0
    total_seconds: float = 240.0

    def broken(self, what: str) -> str:
        """Say of a limit, by its kind, that it was broken; "" if ``what`` is none of them."""
        return {
            "time": f"it took longer than {self.seconds:g} seconds",
            "memory": f"it used more than {self.memory / 2**20:,.0f} MB of memory",
            "processes": f"it started more than {self.processes} processes and threads",
            "output": f"it sent more than {self.output / 2**20:,.0f} MB",
            "files": f"its files take more than {self.tmp / 2**20:,.0f} MB, or there are too many",
        }.get(what, "")
