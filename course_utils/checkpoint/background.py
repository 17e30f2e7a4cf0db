"""Save in the background: the training loop waits for a copy in memory, not for the disk."""

import io
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, SupportsIndex

import torch
from torch import Tensor, UntypedStorage

from course_utils.checkpoint.manager import CheckpointManager
from course_utils.checkpoint.pickler import LeaveItToTorchError, PickledState
from course_utils.checkpoint.save import save_pickled
from course_utils.files.durable import write_atomically

Write = Callable[[Path], None]
Buffers = dict[int, UntypedStorage]


class AsyncCheckpointer:
    """Saves through a manager while training goes on. Use it in a ``with`` statement.

    One save is written at a time. If the next one is due before the disk is done, ``save``
    waits: states never pile up, and the memory taken is one copy of the state, reused.
    When the interpreter exits, a save in progress is completed.

    A signal handler may call ``save`` too, also while the program is in a call of its own: then
    the state is copied to memory of its own.

    Args:
        manager: names the files, and keeps the right ones.
    """

    def __init__(self, manager: CheckpointManager) -> None:
        self._manager = manager
        self._buffers: Buffers = {}
        self._saves: list[_Save] = []  # that nobody has waited for: one, or more from a handler
        self._saved: Path | None = None
        self._closed = False

    def save(
        self, state: Any, step: SupportsIndex, metrics: Mapping[str, float] | None = None
    ) -> None:
        """Copy the state and return; it may change at once, while the copy is written.

        Args:
            state: as for ``save_checkpoint``.
            step: as for ``CheckpointManager.save``.
            metrics: as for ``CheckpointManager.save``.

        Raises:
            CheckpointWriteError: the save before this one failed, or the folder holds another
                run's checkpoints; this save was not begun.
            RuntimeError: the system starts no more threads; this save was not begun.
            ValueError: the step or the metrics make no sense, or ``close`` was called before.
        """
        if self._closed:
            raise ValueError("this checkpointer is closed")
        self.wait()
        path = self._manager.prepare(step, metrics)
        buffers, self._buffers = self._buffers, {}  # a handler that comes now makes its own
        write = _copied(state, buffers)
        self.wait()
        save = _Save(lambda: self._manager.save_with(write, path), buffers)
        save.start(self._saves)

    def wait(self) -> Path | None:
        """Wait until the last save is durable, and return its path, None without a save.

        Raises:
            CheckpointWriteError: it failed; raised once.
        """
        while self._saves:
            save = self._saves[0]
            save.ended.wait()
            if save not in self._saves:  # a signal handler has seen to it
                continue
            self._saves.remove(save)
            self._buffers = save.buffers
            if save.error:
                raise save.error
            self._saved = save.path or self._saved
        return self._saved

    def close(self) -> None:
        """Wait for the last save and free the memory.

        Raises:
            CheckpointWriteError: it failed.
        """
        self._closed = True
        try:
            self.wait()
        finally:
            self._buffers = {}

    def __enter__(self) -> "AsyncCheckpointer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Save:
    """One save in a thread of its own.

    Attributes:
        buffers: the memory of the copied state, free once the save has ended.
        ended: set when nothing more will be written.
        path: of the new file, None if there is none.
        error: why there is none, None if the save was not begun.
    """

    def __init__(self, work: Callable[[], Path], buffers: Buffers) -> None:
        self._work, self.buffers = work, buffers
        self.ended = threading.Event()
        self.path: Path | None = None
        self.error: BaseException | None = None
        self._begun = threading.Lock()  # for whoever comes first: the thread, or who gives it up

    def start(self, saves: "list[_Save]") -> None:
        """Join these and begin; if interrupted, the thread is at work or it never will be."""
        try:
            saves.append(self)
            # Not a daemon: the interpreter waits for it when it exits.
            threading.Thread(target=self._run, name="checkpoint-saver").start()
        except BaseException:
            if self._begun.acquire(blocking=False):
                self.ended.set()
            raise

    def _run(self) -> None:
        if not self._begun.acquire(blocking=False):
            return
        try:
            self.path = self._work()
        except BaseException as error:
            self.error = error
            if not threading.main_thread().is_alive():  # nobody will ask: let Python print it
                raise
        finally:
            self.ended.set()


def _copied(state: Any, buffers: Buffers) -> Write:
    """Copy a state into buffers, made or replaced where they do not fit; return its writer."""
    try:
        pickled = PickledState(state)
    except LeaveItToTorchError:
        content = io.BytesIO()
        torch.save(state, content)
        return lambda path: write_atomically(path, lambda file: file.write(content.getbuffer()))
    for key, storage in enumerate(pickled.storages):
        if key not in buffers or len(buffers[key]) != len(storage):
            buffers[key] = _host_memory(storage)
        _bytes_of(buffers[key]).copy_(_bytes_of(storage), non_blocking=True)
    _wait_for_devices(pickled.storages)
    pickled.storages = [buffers[key] for key in range(len(pickled.storages))]
    return lambda path: save_pickled(path, pickled)


def _wait_for_devices(storages: Iterable[UntypedStorage]) -> None:
    """Wait until every device that holds some of these has done what it was told.

    On paper for other devices than the CPU: no GPU has seen it.
    """
    for device in {storage.device for storage in storages}:
        if device.type != "cpu":
            torch.accelerator.synchronize(device)


def _host_memory(storage: UntypedStorage) -> UntypedStorage:
    """Return memory for a copy, pinned if that lets a GPU copy by itself."""
    copy = torch.empty(
        len(storage), dtype=torch.uint8, device="cpu", pin_memory=storage.device.type == "cuda"
    )
    return copy.untyped_storage()


def _bytes_of(storage: UntypedStorage) -> Tensor:
    return torch.empty(0, dtype=torch.uint8, device=storage.device).set_(storage)
