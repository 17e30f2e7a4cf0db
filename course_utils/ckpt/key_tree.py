"""The keys of a file as a tree, with what each branch weighs."""

from typing import Any

from course_utils.ckpt.values import Values
from course_utils.formats.contents import Contents
from course_utils.formats.tensors import OtherTensor, TensorInfo
from course_utils.tables import Table

HEADERS = ["key", "shape", "dtype or value", "bytes", "device", "shared with"]
INDENT = 60  # most blanks before a key, however deep it lies
LONGEST = 40  # characters of a value


def key_tree(contents: Contents, values: Values) -> Table:
    """Return a table: one row a tensor, value or branch, indented by its depth.

    A branch's bytes are the sum of its tensors'; memory that is shared counts each time.
    """
    root = _Branch()
    for name, info in contents.tensors.items():
        root.add(name, info, info.nbytes)
    for name, other in contents.others.items():
        root.add(name, other, 0)
    for name, value in values.found.items():
        root.add(name, _Value(value), 0)
    shared = shared_with(contents)
    rows: list[tuple[str, ...]] = []
    pending = [(key, node, "") for key, node in reversed(root.inside.items())]
    while pending:
        key, node, indent = pending.pop()
        if isinstance(node, _Branch):
            rows.append((indent + key, "", "", f"{node.nbytes:,}", "", ""))
            deeper = indent + "  " if len(indent) < INDENT else indent
            pending += [(k, n, deeper) for k, n in reversed(node.inside.items())]
        else:
            rows.append((indent + (key or "(the file itself)"), *_cells(node, shared)))
    if shared:
        return Table(rows, HEADERS)
    return Table((row[:-1] for row in rows), HEADERS[:-1])


def shared_with(contents: Contents) -> dict[str, str]:
    """Return, for each tensor that shows memory of an earlier one, that one's name."""
    owners: dict[str, str] = {}
    shared = {}
    for info in contents.tensors.values():
        if info.record is not None:
            owner = owners.setdefault(info.record, info.name)
            if owner != info.name:
                shared[info.name] = owner
    return shared


class _Branch:
    """What lies under a part of a name, and the bytes of its tensors."""

    def __init__(self) -> None:
        self.inside: dict[str, Any] = {}
        self.nbytes = 0

    def add(self, name: str, leaf: Any, nbytes: int) -> None:
        *branches, last = name.split(".")
        node = self
        for branch in branches:
            inner = node.inside.get(branch + ".")
            if inner is None:
                inner = node.inside[branch + "."] = _Branch()
            node = inner
            node.nbytes += nbytes
        node.inside[last] = leaf


class _Value:
    """A leaf that is no tensor; a described one is itself a dictionary."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __str__(self) -> str:
        if isinstance(self.value, dict):
            return f"<{self.value['described']}>"
        text = repr(self.value)
        return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _cells(node: Any, shared: dict[str, str]) -> tuple[str, ...]:
    if isinstance(node, TensorInfo):
        owner = shared.get(node.name, "")
        return str(node.shape), _dtype(node), f"{node.nbytes:,}", node.device, owner
    if isinstance(node, OtherTensor):
        shape = "" if node.shape is None else str(node.shape)
        dtype = f"{node.dtype} " if node.dtype else ""
        return shape, f"{dtype}<{node.kind}>", "", "", ""
    return "", str(node), "", "", ""


def _dtype(info: TensorInfo) -> str:
    """Return the dtype, and what else decides what the numbers are."""
    if not (info.conj or info.neg or info.subclass or info.quantizer is not None):
        return info.dtype
    marks = [
        "conjugate" if info.conj else "",
        "negative" if info.neg else "",
        "quantized" if info.quantizer is not None else "",
        f"<{info.subclass}>" if info.subclass else "",
    ]
    return " ".join([info.dtype, *filter(None, marks)])
