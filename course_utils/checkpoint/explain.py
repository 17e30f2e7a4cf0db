"""Turn what goes wrong while a checkpoint is read into errors that name file, cause and remedy.

Only what the bytes prove is called damage: the caller's own mistakes and the system's troubles
have errors of their own.
"""

import pickle
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import UntypedStorage
from torch.serialization import default_restore_location

from course_utils.anatomy.archive import read_archive
from course_utils.checkpoint.torch_versions import is_meta, place_wrappers
from course_utils.errors import (
    CheckpointError,
    DamagedCheckpointError,
    DamagedRecordError,
    UnsafeCheckpointError,
    UnsupportedCheckpointError,
)
from course_utils.files.contents import verify
from course_utils.files.open_file import system_error

REMEDY = "Use an earlier checkpoint or another copy."


class _CallersError(Exception):
    """Carries what the caller's ``map_location`` raised past the errors of the file."""


def with_callers_errors(map_location: Any) -> Any:
    """Return a ``map_location`` that does the same, and whose errors are not the file's."""
    if map_location is None or is_meta(map_location):
        return map_location
    if not (isinstance(map_location, str | torch.device | Mapping) or callable(map_location)):
        raise TypeError(
            f"map_location={map_location!r} is no device, dict or function; "
            "a GPU's number is written 'cuda:0'"
        )
    place = _placing(map_location)

    def placing(storage: UntypedStorage, tag: str) -> Any:
        place_wrappers(map_location)
        try:
            return place(storage, tag)
        except Exception as error:
            error.add_note(f"Raised by map_location={map_location!r}, not by the checkpoint.")
            raise _CallersError from error

    return placing


def _placing(map_location: Any) -> Callable[[UntypedStorage, str], Any]:
    """Return the function that torch makes of a ``map_location``."""
    if isinstance(map_location, Mapping):
        return lambda storage, tag: default_restore_location(storage, map_location.get(tag, tag))
    if isinstance(map_location, str | torch.device):
        return lambda storage, _: default_restore_location(storage, str(map_location))

    def place(storage: UntypedStorage, tag: str) -> Any:
        placed = map_location(storage, tag)
        return default_restore_location(storage, tag) if placed is None else placed

    return place


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what reading and unpickling raise into errors that name the file and the remedy."""
    try:
        yield
    except _CallersError as error:
        raise error.__cause__ from None  # type: ignore[misc]
    except DamagedRecordError as error:
        where = "its directory"
        if error.record is not None:
            where = f"record {error.record}{_tensors_in(path, error.record)}"
        raise DamagedCheckpointError(f"{path}: damaged in {where}: {error.reason}. {REMEDY}") from (
            error.__cause__
        )
    except pickle.UnpicklingError as error:
        verdict = _verdict(path, error)
        if verdict == "plain data":
            raise UnsupportedCheckpointError(
                f"{path}: it is plain data, pickled in a way that torch's safe loader does not "
                f"read ({_said(error)}). Write it anew with `ckpt convert {path.name} NEW.pt` and "
                "load that."
            ) from error
        raise UnsafeCheckpointError(
            f"{path}: refused, its pickle asks for more than tensors and plain containers. "
            f"{_said(error)}"
        ) from error
    except CheckpointError:
        raise
    except OSError as error:
        raise system_error(path, error) from error
    except RuntimeError as error:  # no memory, no device: torch says it best; or the file's fault
        _verdict(path, error)
        raise
    except (LookupError, TypeError, AttributeError, AssertionError, EOFError, ValueError) as error:
        verdict = _verdict(path, error)
        if verdict == "damaged":
            raise DamagedCheckpointError(
                f"{path}: its pickle does not fit its records ({error!r}). {REMEDY}"
            ) from error
        raise UnsupportedCheckpointError(
            f"{path}: its bytes are as they were written, but what it holds cannot be made here "
            f"({error!r}). Use the versions of torch and of your own classes that saved it."
        ) from error


def _said(error: pickle.UnpicklingError) -> str:
    """Return what torch's loader says is in the way, without its advice to load all the same.

    The advice comes with files from before 1.6 alone.
    """
    text = str(error).partition("WeightsUnpickler error:")[2] or str(error)
    return text.partition("Check the documentation")[0].strip()


def _verdict(path: Path, error: Exception) -> str:
    """Return what the audit says, or ``"damaged"`` if a checksum does.

    Raises:
        UnsupportedCheckpointError: it is malformed, and that is why torch raised the error.
    """
    from course_utils.safety.audit import audit  # loads files itself, and imports this

    try:
        if verify(path).damage:
            return "damaged"
    except DamagedCheckpointError:
        return "damaged"
    except CheckpointError:  # it cannot be told: the audit can still follow its pickle
        pass
    found = audit(path)
    if found.verdict.value == "malformed":
        reason = found.findings[0].reason
        raise UnsupportedCheckpointError(
            f"{path}: its pickle is none that torch reads: {reason}. torch says: {error}"
        ) from error
    return found.verdict.value


def _tensors_in(path: Path, record: str) -> str:
    """Name the tensors that a damaged record holds, where the rest of the file still tells."""
    try:
        tensors = read_archive(path).tensors.values()
    except (CheckpointError, OSError):
        return ""
    names = [tensor.name for tensor in tensors if tensor.record == record]
    return f" (tensor {', '.join(names)})" if names else ""
