"""What an archive is, by the names of its records alone."""

from collections.abc import Collection, Sequence

from course_utils.formats.contents import CHECKPOINT, COMPILED, OTHER_ZIP, PROGRAM, SCRIPT
from course_utils.formats.zip import Record


def without_folder(records: Sequence[Record]) -> tuple[str, dict[str, Record], bool]:
    """Take the folder away that the records of an archive share, as torch's have one.

    Returns:
        The folder, with a slash: that of the first record, as torch has it, empty if that is in
        none. The records by their names without it. And whether all of them lie in it.
    """
    name = records[0].name if records else ""
    folder = name[: name.find("/") + 1]
    named = {record.name.removeprefix(folder): record for record in records}
    together = bool(folder) and all(record.name.startswith(folder) for record in records)
    return folder, named, together


def zip_kind(names: Collection[str]) -> str:
    """Say what an archive is, by the names of its records without their common prefix."""
    if "constants.pkl" in names or any(name.startswith("code/") for name in names):
        return SCRIPT
    if "archive_format" in names or "serialized_exported_program.json" in names:
        compiled = any(name.startswith("data/aotinductor/") for name in names)
        exported = any(name.startswith("models/") for name in names)
        return COMPILED if compiled and not exported else PROGRAM
    return CHECKPOINT if "data.pkl" in names else OTHER_ZIP


def zip_name(names: Collection[str]) -> str:
    """Say what another archive is, by the full names of its records."""
    if names and {name.rpartition("/")[2] for name in names} <= _BEFORE_PICKLE:
        return _FAILED
    if names and all(name.endswith(".npy") for name in names):
        return NUMPY
    for what, marks in _MARKS.items():
        if all(any(name.endswith(mark) for name in names) for mark in marks):
            return what
    return "a zip file"


def why_no_checkpoint(names: Collection[str]) -> str:
    """Say what another archive is, and why it is no checkpoint."""
    what = zip_name(names)
    if what == _FAILED:
        return what
    inside = next((name for name in names if name.endswith(_INSIDE)), None)
    hint = f"; unpack it, {inside} in it may be a checkpoint" if inside else ""
    return f"{what} without data.pkl: torch.save did not write it{hint}"


_FAILED = "what a torch.save that failed has left: an archive without data.pkl"
_INSIDE = (".pt", ".pth", ".ckpt", ".safetensors")
_BEFORE_PICKLE = {
    ".format_version",
    ".storage_alignment",
    "byteorder",
    "version",
    "serialization_id",
}
NUMPY, WHEEL = "a NumPy archive (.npz)", "a Python wheel"
KERAS, TORCHSERVE = "a Keras model (.keras)", "a TorchServe archive (.mar)"
BASELINES, PACKAGE = "a model of Stable-Baselines3", "an archive of torch.package"
_MARKS = {
    WHEEL: [".dist-info/WHEEL"],
    KERAS: ["config.json", "metadata.json", ".h5"],
    TORCHSERVE: ["MAR-INF/MANIFEST.json"],
    BASELINES: ["_stable_baselines3_version"],
    PACKAGE: ["/.data/extern_modules"],
}
