"""Finds whole modules that were pickled, and the names that a state_dict gives to their tensors."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from course_utils.formats.contents import Contents
from course_utils.formats.key_names import key_name
from course_utils.formats.pickle_nodes import Call, Global, describe
from course_utils.formats.plain_nodes import SetOf, plain
from course_utils.formats.tensors import is_tensor

PARTS = ("_parameters", "_buffers", "_modules")
DEEPEST = 1000  # modules in modules


class PickledModule(NamedTuple):
    """A module in a checkpoint, pickled as a whole: loading it needs its class.

    Attributes:
        path: where it stands in the checkpoint, dotted.
        kind: its class, as ``module.name``.
        names: what a state_dict would call its tensors, by their names in the checkpoint.
        not_persistent: names of buffers that no state_dict holds.
    """

    path: str
    kind: str
    names: dict[str, str]
    not_persistent: set[str]


def find_modules(root: Any) -> list[PickledModule]:
    """Return the outermost modules under ``root``, in dicts and lists."""
    found, seen = [], set()
    pending: list[tuple[str, Any]] = [("", root)]
    while pending:
        path, node = pending.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if _is_module(node):
            found.append(_described(path, node))
        elif isinstance(node, dict | list | tuple):
            items = node.items() if isinstance(node, dict) else enumerate(node)
            inner = [(key, value) for key, value in items if _may_hold(value)]
            pending += reversed([(_under(path, key), value) for key, value in inner])
    return found


def with_weights_named(contents: Contents) -> Contents:
    """Return contents with the tensors of pickled modules named as in their state_dicts.

    All but parameters and persistent buffers is left out. Contents without such a module are
    returned as they are.
    """
    modules = find_modules(contents.tree)
    if not modules:
        return contents
    names = {old: new for module in modules for old, new in module.names.items()}
    inside = tuple(f"{module.path}." if module.path else "" for module in modules)
    tensors = {
        names.get(name, name): info
        for name, info in contents.tensors.items()
        if name in names or not name.startswith(inside)
    }
    return contents._replace(tensors=tensors)


def _may_hold(node: Any) -> bool:
    return _is_module(node) if isinstance(node, Call) else isinstance(node, dict | list | tuple)


def _described(path: str, node: Call) -> PickledModule:
    module = PickledModule(path, _class_of(node), {}, set())
    pending: list[tuple[str, str, Call, int]] = [(path, path, node, 0)]
    while pending:
        place, name, node, depth = pending.pop()
        skipped = plain(node.state.get("_non_persistent_buffers_set"))
        skipped = set(skipped.items) if isinstance(skipped, SetOf) else set()
        for part, key, value in _parts(node):
            inner, shown = _under(_under(place, part), key), _under(name, key)
            if part == "_modules":
                if _is_module(value) and depth < DEEPEST:
                    pending.append((inner, shown, value, depth + 1))
            elif isinstance(value, Call) and is_tensor(value):
                if part == "_buffers" and key in skipped:
                    module.not_persistent.add(inner)
                else:
                    module.names[inner] = shown
    return module


def _parts(node: Call) -> Iterator[tuple[str, Any, Any]]:
    for part in PARTS:
        inside = node.state.get(part)
        if isinstance(inside, dict):
            for key, value in inside.items():
                yield part, key, value


def _is_module(node: Any) -> bool:
    return (
        isinstance(node, Call)
        and isinstance(node.state, dict)
        and all(isinstance(node.state.get(part), dict) for part in PARTS)
    )


def _class_of(node: Call) -> str:
    if describe(node.function) in ("copyreg._reconstructor", "copy_reg._reconstructor"):
        return describe(node.arguments[0]) if node.arguments else "a class"
    return str(node.function) if isinstance(node.function, Global) else "a computed class"


def _under(path: str, key: Any) -> str:
    name = key_name(key)
    return f"{path}.{name}" if path else name
