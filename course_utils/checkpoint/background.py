"""Save in the background: the training loop waits for a copy in memory, not for the disk."""

import io
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, UntypedStorage

from course_utils.checkpoint.manager import CheckpointManager
from course_utils.checkpoint.pickler import LeaveItToTorchError, PickledState
from course_utils.checkpoint.save import save_pickled
from course_utils.files.durable import write_atomically

Write = Callable[[Path], None]


class AsyncCheckpointer:
    """Saves through a manager while training goes on. Use it in a ``with`` statement.

    One save is written at a time. If the next one is due before the disk is done, ``save``
    waits: states never pile up, and the memory taken is one copy of the state, reused.
    When the interpreter exits, a save in progress is completed.

    Args:
        manager: names the files, and keeps the right ones.
    """

    def __init__(self, manager: CheckpointManager) -> None:
        self._manager = manager
        self._buffers: dict[int, UntypedStorage] = {}
        self._thread: threading.Thread | None = None
        self._saved: Path | None = None
        self._error: BaseException | None = None
        self._closed = False

    def save(self, state: Any, step: int, metrics: Mapping[str, float] | None = None) -> None:
        """Copy the state and return; it may change at once, while the copy is written.

        Args:
            state: as for ``save_checkpoint``.
            step: as for ``CheckpointManager.save``.
            metrics: as for ``CheckpointManager.save``.

        Raises:
            CheckpointWriteError: the save before this one failed; this one was not begun.
            ValueError: the step or the metrics make no sense, or ``close`` was called before.
        """
        if self._closed:
            raise ValueError("this checkpointer is closed")
        self.wait()
        path = self._manager.path_for(step, metrics)
        write = _copied(state, self._buffers)
        # Not a daemon: the interpreter waits for it when it exits.
        self._thread = threading.Thread(target=self._save, args=(path, write))
        self._thread.start()

    def wait(self) -> Path | None:
        """Wait until the last save is durable, and return its path, None without a save.

        Raises:
            CheckpointWriteError: it failed; raised once.
        """
        if self._thread:
            self._thread.join()
            self._thread = None
        error, self._error = self._error, None
        if error:
            raise error
        return self._saved

    def close(self) -> None:
        """Wait for the last save and free the memory.

        Raises:
            CheckpointWriteError: it failed.
        """
        self._closed = True
        self.wait()
        self._buffers = {}

    def __enter__(self) -> "AsyncCheckpointer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _save(self, path: Path, write: Write) -> None:
        try:
            self._saved = self._manager.save_with(write, path)
        except BaseException as error:
            self._error = error


def _copied(state: Any, buffers: dict[int, UntypedStorage]) -> Write:
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
    if any(storage.is_cuda for storage in pickled.storages):
        torch.cuda.synchronize()
    pickled.storages = [buffers[key] for key in range(len(pickled.storages))]
    return lambda path: save_pickled(path, pickled)


def _host_memory(storage: UntypedStorage) -> UntypedStorage:
    """Return memory for a copy, pinned if that lets a GPU copy by itself."""
    copy = torch.empty(len(storage), dtype=torch.uint8, pin_memory=storage.is_cuda)
    return copy.untyped_storage()


def _bytes_of(storage: UntypedStorage) -> Tensor:
    return torch.empty(0, dtype=torch.uint8, device=storage.device).set_(storage)
