"""``ckpt inspect``: what a file is, and what is in it."""

import argparse
from typing import Any

from course_utils.ckpt.folder_notes import file_notes, files_of, where_weights_are
from course_utils.ckpt.key_tree import key_tree, shared_with
from course_utils.ckpt.report import FINE, IMPOSSIBLE, NO_CHECKPOINT, Report, counted
from course_utils.ckpt.values import values_of
from course_utils.errors import AnotherFormatError, CheckpointError
from course_utils.files.contents import open_contents
from course_utils.formats.contents import CHECKPOINTS, OTHER_ZIP, PICKLE, Contents
from course_utils.formats.modules import PickledModule, find_modules
from course_utils.formats.open import require_tensors
from course_utils.formats.tensors import OtherTensor, TensorInfo
from course_utils.tables import Table


def report(options: argparse.Namespace) -> Report:
    """Describe ``options.file``; only its directory is read."""
    try:
        contents = open_contents(options.file)
    except AnotherFormatError as error:
        return _neighbour(error)
    if contents.is_described:
        return _with_tensors(contents, as_json=options.json)
    return _without_tensors(contents)


def _with_tensors(contents: Contents, as_json: bool) -> Report:
    tensors, others, size = contents.tensors, contents.others, contents.source.size
    total = sum(info.nbytes for info in tensors.values())
    held = f"{counted(len(tensors), 'tensor')} of {counted(total, 'byte')}"
    headline = f"{held} in a {contents.kind} of {size:,} bytes"
    if others:
        headline += f", and {len(others):,} that are not read"
    data: dict[str, Any] = {"kind": contents.kind, "bytes": size}
    values = values_of(contents)
    if as_json:
        shared = shared_with(contents)
        data["tensors"] = [_tensor(info, shared.get(name)) for name, info in tensors.items()]
        data["other_tensors"] = [_other(other) for other in others.values()]
        data["modules"] = {module.path: module.kind for module in _modules(contents)}
        data["collided"] = sorted(contents.collided)
        data["values"] = values.found
        data["values_left_out"] = values.left_out
        if contents.files:
            data |= {"parts": files_of(contents), "oddities": contents.oddities}
        return Report(FINE, contents.kind, headline, data)
    return Report(
        FINE, contents.kind, headline, data, key_tree(contents, values), _notes(contents, values)
    )


def _tensor(info: TensorInfo, shared: str | None) -> dict[str, Any]:
    return {
        "name": info.name,
        "shape": info.shape,
        "dtype": info.dtype,
        "bytes": info.nbytes,
        "device": info.device,
        "stride": info.stride,
        "requires_grad": info.requires_grad,
        "shared_with": shared,
        "conjugate": info.conj,
        "negative": info.neg,
        "quantized": info.quantizer is not None,
        "class": info.subclass,
        "has_attributes": info.attributes is not None,
        "part_of": info.part_of,
    }


def _other(other: OtherTensor) -> dict[str, Any]:
    return {
        "name": other.name,
        "class": other.kind,
        "shape": other.shape,
        "dtype": other.dtype,
        "reason": other.reason,
    }


def _modules(contents: Contents) -> list[PickledModule]:
    """Return the modules that were pickled whole."""
    return find_modules(contents.tree) if contents.kind in CHECKPOINTS else []


_CONVERT = "`ckpt convert` takes its weights, under the names of a state_dict"
_BARE = "there are no parameters or buffers in it that could be taken without"


def _notes(contents: Contents, values: Any) -> list[str]:
    notes = [
        f"{module.path or 'all of it'} is a pickled module of class {module.kind}: loading it "
        f"needs that class; {_CONVERT if module.names else _BARE}"
        for module in _modules(contents)
    ]
    notes += [*file_notes(contents), *where_weights_are(contents)]
    for other in list(contents.others.values())[:20]:
        notes.append(f"{other.name}: {other.kind}, not read: {other.reason}")
    if len(contents.others) > 20:
        notes.append(f"… and {len(contents.others) - 20:,} more tensors that are not read")
    if contents.collided:
        names = ", ".join(sorted(contents.collided)[:5])
        notes.append(
            f"more than one tensor has the name {names}; the later ones are shown with a ' added"
        )
    if values.left_out:
        notes.append(f"{values.left_out:,} more values are not shown")
    return notes


def _neighbour(error: AnotherFormatError) -> Report:
    """Name another format, and show what its header says."""
    kind, reader, header = error.neighbour
    headline = f"no checkpoint of PyTorch but {kind}; read it with {reader}"
    facts, tensors = header or ({}, [])
    data = {"kind": kind, "reader": reader, "facts": facts, "arrays": tensors}
    table = Table(tensors, ["tensor", "shape", "type"]) if tensors else None
    notes = [f"{name}: {value}" for name, value in facts.items()]
    return Report(IMPOSSIBLE, NO_CHECKPOINT, headline, data, table, notes)


def _without_tensors(contents: Contents) -> Report:
    """Say what the file is, and list its records."""
    size, records = contents.source.size, contents.records.values()
    article = "an" if contents.kind[0] in "aeiou" else "a"
    headline = f"{article} {contents.kind} of {size:,} bytes"
    if records:
        headline += f" with {len(records):,} records"
    data = {
        "kind": contents.kind,
        "bytes": size,
        "records": [{"name": record.name, "bytes": record.size} for record in records],
    }
    table = Table([(r.name, f"{r.size:,}") for r in records], ["record", "bytes"])
    try:
        require_tensors(contents)
        notes = []
    except CheckpointError as error:
        notes = [str(error).removeprefix(f"{contents.path} ").removeprefix(f"{contents.path}: ")]
    other = contents.kind in (OTHER_ZIP, PICKLE)
    return Report(
        IMPOSSIBLE if other else FINE, NO_CHECKPOINT if other else contents.kind, headline, data,
        table if records else None, notes,
    )  # fmt: skip
