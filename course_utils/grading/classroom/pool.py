"""Grades many notebooks at once: in processes of this machine, or on a Dask cluster."""

import gc
import multiprocessing
import os
import tempfile
from collections.abc import Hashable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Generic, TypeVar

from nbformat import NotebookNode

from course_utils.grading.classroom.grader import Result, checked_exercise, grade
from course_utils.grading.exercise import all_exercises, load_exercise
from course_utils.grading.sandbox.runner import Limits

Key = TypeVar("Key", bound=Hashable)
Outcome = Result | Exception
Group = tuple[str, ...]


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
    for key, notebook in left.items():  # it killed its worker: once more, and alone
        yield from _in_pool({key: notebook}, seed, limits, 1)


def _in_pool(
    notebooks: dict[Key, NotebookNode], seed: int, limits: Limits, workers: int
) -> Iterator[tuple[Key, Outcome]]:
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload([grade.__module__])  # PyTorch is imported once for all
    todo, done = _Todo(notebooks), SimpleQueue[tuple[Key, Outcome]]()
    with tempfile.TemporaryDirectory(prefix="grading-") as folder:

        def work() -> None:
            group: Group = ()
            pool = ProcessPoolExecutor(1, processes, _prepare, (folder,))
            while (key := todo.take(group)) is not None:
                group = _group(notebooks[key])
                outcome = _outcome(pool, notebooks[key], seed, limits)
                if isinstance(outcome, BrokenProcessPool):
                    pool = ProcessPoolExecutor(1, processes, _prepare, (folder,))
                done.put((key, outcome))
            pool.shutdown()

        threads = [Thread(target=work) for _ in range(workers)]
        for thread in threads:
            thread.start()
        try:
            for _ in notebooks:
                yield done.get()
        finally:
            todo.clear()
            for thread in threads:
                thread.join()


def _outcome(
    pool: ProcessPoolExecutor, notebook: NotebookNode, seed: int, limits: Limits
) -> Outcome:
    try:
        return pool.submit(grade, notebook, seed, limits).result()
    except Exception as error:
        return error


class _Todo(Generic[Key]):
    """What is still to be graded, by group: a worker stays with one as long as it can.

    It has computed what the references do, and has started what the group needs.
    """

    def __init__(self, notebooks: dict[Key, NotebookNode]) -> None:
        self.lock = Lock()
        self.begun: set[Group] = set()
        self.left: dict[Group, list[Key]] = {}
        for key, notebook in notebooks.items():
            self.left.setdefault(_group(notebook), []).append(key)

    def take(self, last: Group) -> Key | None:
        """Return the next of a worker's last group, else of the largest that nobody has begun."""
        with self.lock:
            groups = [group for group, keys in self.left.items() if keys]
            if not groups:
                return None
            group = max(groups, key=lambda g: (g == last, g not in self.begun, len(self.left[g])))
            self.begun.add(group)
            return self.left[group].pop()

    def clear(self) -> None:
        """Leave the rest undone."""
        with self.lock:
            self.left.clear()


def _group(notebook: NotebookNode) -> Group:
    """Return the exercises of a notebook; those that need a second Python are one group."""
    checked = tuple(exercise for cell in notebook.cells if (exercise := checked_exercise(cell)))
    known = set(checked) & set(all_exercises())
    return ("then",) if any(load_exercise(exercise).then for exercise in known) else checked


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
    gc.freeze()  # all that has been imported stays; no collection need look at it


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
