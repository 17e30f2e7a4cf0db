"""The errors every module of the package raises for a file it will not load.

All of them name the file, what is wrong with it and what to do. They share one base,
so that a training job can write ``except CheckpointError``.
"""

from typing import Any


class CheckpointError(RuntimeError):
    """A checkpoint file could not be used."""


class MissingCheckpointError(CheckpointError, FileNotFoundError):
    """There is no file at this path."""


class NotACheckpointError(CheckpointError):
    """The path holds something else: a folder, an empty file, text, another format."""


class AnotherFormatError(NotACheckpointError):
    """The file is in a format of another library, known by name.

    Attributes:
        neighbour: which; see `course_utils.formats.neighbours`.
    """

    def __init__(self, message: str, neighbour: Any) -> None:
        super().__init__(message)
        self.neighbour = neighbour


class UnreadableCheckpointError(CheckpointError):
    """The system does not let the file be read: no permission, a link loop, too long a name."""


class DamagedCheckpointError(CheckpointError):
    """The file was a checkpoint once: it is truncated or its bytes have changed."""


class UnsupportedCheckpointError(CheckpointError):
    """A PyTorch file of another kind: TorchScript, or the format from before version 1.6."""


class UnsafeCheckpointError(CheckpointError):
    """Loading the file would import or call more than plain tensors and containers need."""


class CheckpointWriteError(CheckpointError):
    """A checkpoint could not be written; what stood at its path before is untouched."""


class MismatchedCheckpointError(CheckpointError):
    """A sound checkpoint does not fit the objects it is loaded into."""


class DisagreementError(CheckpointError):
    """An exported model computes something else than the module it was made from."""


class MissingDeviceError(CheckpointError):
    """This machine lacks the device that a file's tensors should go to."""


class DamagedRecordError(Exception):
    """Part of an archive is not what was written; becomes a `DamagedCheckpointError`.

    Attributes:
        record: the record's name, None for the archive's directory.
        reason: what is wrong with it.
    """

    def __init__(self, record: str | None, reason: str) -> None:
        super().__init__(record, reason)
        self.record, self.reason = record, reason


class NotExportableError(CheckpointError):
    """An exporter cannot express the module."""
