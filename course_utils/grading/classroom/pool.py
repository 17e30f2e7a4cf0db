"""Grades many notebooks at once: in processes of this machine, or on a Dask cluster."""

import multiprocessing
import os
import tempfile
from collections.abc import Hashable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from nbformat import NotebookNode

from course_utils.grading.classroom.grader import Result, grade
from course_utils.grading.sandbox.runner import Limits

Key = TypeVar("Key", bound=Hashable)
Outcome = Result | Exception


def grade_all(
    notebooks: dict[Key, NotebookNode],
    seed: int,
    limits: Limits,
    *,
    workers: int | None = None,
    scheduler: str = "",
) -> Iterator[tuple[Key, Outcome]]:
    """Yield each notebook's result, or what prevented it, as they are ready.

    Args:
        notebooks: clean ones, by any key.
        seed: of the cases.
        limits: of each sandbox.
        workers: processes on this machine; as many as it has cores by default.
        scheduler: address of a Dask scheduler, such as ``"tcp://10.0.0.1:8786"``, to use instead.
            Its workers need this package at the same version, and bubblewrap.
    """
    if not notebooks:
        return
    if scheduler:
        yield from _on_cluster(notebooks, seed, limits, scheduler)
    else:
        yield from _here(notebooks, seed, limits, min(workers or _cores(), len(notebooks)))


def _here(
    notebooks: dict[Key, NotebookNode], seed: int, limits: Limits, workers: int
) -> Iterator[tuple[Key, Outcome]]:
    left = dict(notebooks)
    for key, outcome in _in_pool(notebooks, seed, limits, workers):
        if not isinstance(outcome, BrokenProcessPool):
            del left[key]
            yield key, outcome
    for key, notebook in left.items():  # one of them killed its worker: each alone now
        yield from _in_pool({key: notebook}, seed, limits, 1)


def _in_pool(
    notebooks: dict[Key, NotebookNode], seed: int, limits: Limits, workers: int
) -> Iterator[tuple[Key, Outcome]]:
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload([grade.__module__])  # PyTorch is imported once for all
    with (
        tempfile.TemporaryDirectory(prefix="grading-") as folder,
        ProcessPoolExecutor(workers, processes, _prepare, (folder,)) as pool,
    ):
        futures: dict[Future[Result], Key] = {
            pool.submit(grade, notebook, seed, limits): key for key, notebook in notebooks.items()
        }
        try:
            for future in as_completed(futures):
                error = future.exception()
                outcome = error if isinstance(error, Exception) else future.result()
                yield futures[future], outcome
        finally:
            pool.shutdown(cancel_futures=True)


def _on_cluster(
    notebooks: dict[Key, NotebookNode], seed: int, limits: Limits, scheduler: str
) -> Iterator[tuple[Key, Outcome]]:
    from dask.distributed import Client
    from dask.distributed import as_completed as completed

    with Client(scheduler) as client:
        futures = {
            client.submit(grade, notebook, seed, limits, pure=False): key
            for key, notebook in notebooks.items()
        }
        for future in completed(list(futures), raise_errors=False):
            error = future.exception()
            yield futures[future], error if error is not None else future.result()


def _prepare(folder: str) -> None:
    """Let this worker's sandboxes live in a folder that the parent removes."""
    tempfile.tempdir = folder
    os.environ["OMP_NUM_THREADS"] = "1"


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
