"""The keys of a file as a tree, with what each branch weighs."""

from typing import Any

from course_utils.formats.contents import Contents
from course_utils.formats.tensors import TensorInfo
from course_utils.formats.values import plain_values
from course_utils.tables import Table


def key_tree(archive: Contents) -> Table:
    """Return a table: one row a tensor, value or branch, indented by its depth.

    A branch's bytes are the sum of its tensors'; memory that is shared counts each time. The
    versions of modules, which ``state_dict`` keeps in ``_metadata``, are left out.
    """
    values = plain_values(archive)[0]
    values = {k: v for k, v in values.items() if "_metadata" not in k.split(".")}  # of modules
    leaves: dict[str, Any] = {**archive.tensors, **values}
    root: dict[str, Any] = {}
    for name, leaf in leaves.items():
        *branches, last = name.split(".")
        node = root
        for branch in branches:
            node = node.setdefault(branch + ".", {})
        node[last] = leaf
    owners = shared_with(archive)
    rows: list[tuple[str, ...]] = []
    pending = [(key, node, 0, "") for key, node in reversed(root.items())]
    while pending:
        key, node, depth, parent = pending.pop()
        label = "  " * depth + key
        if isinstance(node, dict):
            rows.append((label, "", "", f"{_weight(node):,}", "", ""))
            pending += [(k, n, depth + 1, parent + key) for k, n in reversed(node.items())]
        elif isinstance(node, TensorInfo):
            dtype, size = node.dtype, f"{node.nbytes:,}"
            shared = owners.get(node.name, "")
            rows.append((label, str(node.shape), dtype, size, node.device, shared))
        else:
            rows.append((label, "", repr(node)[:40], "", "", ""))
    return Table(rows, ["key", "shape", "dtype or value", "bytes", "device", "shared with"])


def shared_with(archive: Contents) -> dict[str, str]:
    """Return, for each tensor that shows memory of an earlier one, that one's name."""
    owners: dict[str, str] = {}
    shared = {}
    for info in archive.tensors.values():
        if info.record is not None:
            owner = owners.setdefault(info.record, info.name)
            if owner != info.name:
                shared[info.name] = owner
    return shared


def _weight(node: dict[str, Any]) -> int:
    total, pending = 0, [node]
    while pending:
        for child in pending.pop().values():
            if isinstance(child, dict):
                pending.append(child)
            elif isinstance(child, TensorInfo):
                total += child.nbytes
    return total
