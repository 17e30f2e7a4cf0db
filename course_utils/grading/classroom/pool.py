"""Does the work of grading many at once: in processes of this machine, or on a Dask cluster."""

import gc
import multiprocessing
import os
import tempfile
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Generic, TypeVar

from nbformat import NotebookNode

from course_utils.grading.classroom.grader import Result, checked_exercise, grade
from course_utils.grading.exercise import all_exercises, load_exercise
from course_utils.grading.sandbox.runner import Limits

Key = TypeVar("Key", bound=Hashable)
Given = TypeVar("Given")
Came = TypeVar("Came")
Group = tuple[str, ...]


def grade_all(
    notebooks: dict[Key, NotebookNode],
    seed: int,
    limits: Limits,
    *,
    workers: int | None = None,
    scheduler: str = "",
) -> Iterator[tuple[Key, Result | Exception]]:
    """Yield each notebook's result, or what prevented it, as they are ready.

    Args:
        notebooks: clean ones, by any key.
        seed: of the cases.
        limits: of each sandbox.
        workers: processes on this machine; as many as it has cores by default.
        scheduler: address of a Dask scheduler, such as ``"tcp://10.0.0.1:8786"``, to use instead.
            Its workers need this package at the same version, and bubblewrap.
    """
    work = partial(grade, seed=seed, limits=limits)
    if scheduler and notebooks:
        yield from _on_cluster(work, notebooks, scheduler)
    else:
        yield from do_all(work, notebooks, workers, {k: _group(n) for k, n in notebooks.items()})


def do_all(
    work: Callable[[Given], Came],
    things: dict[Key, Given],
    workers: int | None = None,
    groups: Mapping[Key, Group] | None = None,
) -> Iterator[tuple[Key, Came | Exception]]:
    """Yield what a function returned for each thing, or what prevented it, as they are ready.

    Args:
        work: the function; it runs in other processes, one of which it may end.
        things: by any key.
        workers: processes; as many as there are cores by default.
        groups: of what is done faster by the process that has done others of its group.
    """
    if not things:
        return
    left, groups = dict(things), groups or {}
    for key, outcome in _in_pool(work, things, groups, min(workers or _cores(), len(things))):
        if not isinstance(outcome, BrokenProcessPool):
            del left[key]
            yield key, outcome
    for key, thing in left.items():  # it killed its worker: once more, and alone
        yield from _in_pool(work, {key: thing}, groups, 1)


def _in_pool(
    work: Callable[[Given], Came],
    things: dict[Key, Given],
    groups: Mapping[Key, Group],
    workers: int,
) -> Iterator[tuple[Key, Came | Exception]]:
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload([grade.__module__])  # PyTorch is imported once for all
    todo, done = _Todo(things, groups), SimpleQueue[tuple[Key, Came | Exception]]()
    with tempfile.TemporaryDirectory(prefix="grading-") as folder:

        def follow() -> None:
            group: Group = ()
            pool = ProcessPoolExecutor(1, processes, _prepare, (folder,))
            while (key := todo.take(group)) is not None:
                group = groups.get(key, ())
                outcome = _outcome(pool, work, things[key])
                if isinstance(outcome, BrokenProcessPool):
                    pool = ProcessPoolExecutor(1, processes, _prepare, (folder,))
                done.put((key, outcome))
            pool.shutdown()

        threads = [Thread(target=follow) for _ in range(workers)]
        for thread in threads:
            thread.start()
        try:
            for _ in things:
                yield done.get()
        finally:
            todo.clear()
            for thread in threads:
                thread.join()


def _outcome(
    pool: ProcessPoolExecutor, work: Callable[[Given], Came], thing: Given
) -> Came | Exception:
    try:
        return pool.submit(work, thing).result()
    except Exception as error:
        return error


class _Todo(Generic[Key]):
    """What is still to be done, by group: a worker stays with one as long as it can.

    It has computed what the references do, and has started what the group needs.
    """

    def __init__(self, keys: Iterable[Key], groups: Mapping[Key, Group]) -> None:
        self.lock = Lock()
        self.begun: set[Group] = set()
        self.left: dict[Group, list[Key]] = {}
        for key in keys:
            self.left.setdefault(groups.get(key, ()), []).append(key)

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
    work: Callable[[Given], Came], things: dict[Key, Given], scheduler: str
) -> Iterator[tuple[Key, Came | Exception]]:
    from dask.distributed import Client
    from dask.distributed import as_completed as completed

    with Client(scheduler) as client:
        futures = {client.submit(work, thing, pure=False): key for key, thing in things.items()}
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
