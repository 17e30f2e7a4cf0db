"""What differs between two files: every tensor to the last bit, every value, node by node."""

import argparse
import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from course_utils.ckpt.changes import NOT_COMPARED, Change
from course_utils.ckpt.compare_nodes import NodeComparison
from course_utils.ckpt.report import FINE, IMPOSSIBLE, PROBLEM, Report, refusal
from course_utils.files.contents import open_contents
from course_utils.formats.contents import SAFETENSORS, Contents
from course_utils.formats.modules import with_weights_named
from course_utils.formats.open import require_tensors
from course_utils.formats.tensors import OtherTensor, TensorInfo
from course_utils.tables import Table

# What can be left out of the comparison, beside values: of tensors and containers.
ASPECTS = ("order", "layout", "sharing", "device", "requires_grad", "class", "attributes")


@dataclass(frozen=True)
class Comparison:
    """What comparing two files has shown; a sequence of changes, and so false if there is none.

    Attributes:
        changes: where they differ, or cannot be compared.
        tensors: pairs of tensors that were compared.
        values: pairs of values that were compared; None if only tensors were.
        ignored: what played no part.
    """

    changes: tuple[Change, ...]
    tensors: int
    values: int | None
    ignored: tuple[str, ...]

    def __iter__(self) -> Iterator[Change]:
        return iter(self.changes)

    def __len__(self) -> int:
        return len(self.changes)

    @property
    def same(self) -> bool:
        """Whether everything that was to be compared could be, and is the same."""
        return not self.changes

    @property
    def headline(self) -> str:
        """The result in a line, with what it rests on."""
        what = f"{self.tensors:,} tensors"
        what += "" if self.values is None else f" and {self.values:,} values"
        left_out = ("values",) if self.values is None else ()
        ignored = ", ".join([*left_out, *self.ignored])
        note = f" (not compared: {ignored})" if ignored else ""
        unknown = sum(change.what == NOT_COMPARED for change in self.changes)
        if self.same:
            tensors = " tensors" if self.values is None else ""
            return f"the same{tensors}, to the last bit: {what}{note}"
        if unknown == len(self.changes):
            return f"no difference found, but {unknown:,} could not be compared{note}"
        more = f", {unknown:,} of them places that could not be compared" if unknown else ""
        noun = "difference" if len(self.changes) == 1 else "differences"
        return f"{len(self.changes):,} {noun}{more}{note}"

    @property
    def table(self) -> Table:
        """The changes as a table."""
        return changes_table(self.changes)


def diff(
    first: str | os.PathLike[str],
    second: str | os.PathLike[str],
    *,
    tensors_only: bool = False,
    ignore: Collection[str] = (),
) -> Comparison:
    """Compare two checkpoints or safetensors files. Neither is run.

    Args:
        first, second: the files.
        tensors_only: compare tensors by their dotted names, and nothing else about the files:
            whether a checkpoint and what was converted from it hold the same tensors. Ignores
            all of `ASPECTS`, and, where one file has a pickled module and the other has none,
            what in the module is no parameter or persistent buffer.
        ignore: what plays no part, of `ASPECTS`: the order of keys, the steps between elements,
            what shares memory (or is one object), devices, ``requires_grad``, whether a tensor is
            a parameter, what is set on tensors.

    Raises:
        CheckpointError: one of them cannot be read; see `anatomy.read_archive`.
        ValueError: there is no such aspect.
    """
    unknown = set(ignore) - set(ASPECTS)
    if unknown:
        raise ValueError(f"{', '.join(sorted(unknown))}: not one of {', '.join(ASPECTS)}")
    left, right = (require_tensors(open_contents(path)) for path in (first, second))
    ignored = tuple(a for a in ASPECTS if tensors_only or a in ignore)
    walk = NodeComparison(left, right, frozenset(ignored))
    if tensors_only:
        named = [with_weights_named(side) for side in (left, right)]
        if (named[0] is left) != (named[1] is right):  # a pickled module, and what it became
            left, right = named
            ignored = (*ignored, "what is no parameter or persistent buffer")
        changes = list(_by_name(walk, left, right))
    elif SAFETENSORS not in (left.kind, right.kind):
        changes = list(walk.changes("", left.tree, right.tree))
    else:
        changes = [*_by_name(walk, left, right), *_metadata(walk, left, right)]
    values = None if tensors_only else walk.values
    return Comparison(tuple(changes), walk.tensors, values, ignored)


def changes_table(changes: Collection[Change]) -> Table:
    """Return changes as a table."""
    rows = [
        (c.name, c.what, c.detail, "" if c.largest is None else f"{c.largest:.6g}") for c in changes
    ]
    return Table(rows, ["name", "differs in", "how", "largest difference"])


def _by_name(walk: NodeComparison, left: Contents, right: Contents) -> Iterator[Change]:
    """Compare tensors by their dotted names, wherever they stand in their files."""
    for name in sorted(left.collided | right.collided):
        yield Change(name, NOT_COMPARED, "more than one tensor has this dotted name")
    names = dict.fromkeys([*left.tensors, *left.others, *right.tensors, *right.others])
    for name in names:
        one, two = _named(left, name), _named(right, name)
        if isinstance(one, OtherTensor) and isinstance(two, OtherTensor):
            yield from walk.changes(name, one.node, two.node)
        elif isinstance(one, TensorInfo) and isinstance(two, TensorInfo):
            if not (one.part_of and two.part_of):  # compared with what they are a part of
                yield from walk.tensors_differ(one, two)
                if one.quantizer or two.quantizer:
                    yield from walk.changes(f"{name}.quantizer", one.quantizer, two.quantizer)
        elif one and two:
            kinds = (x.kind if isinstance(x, OtherTensor) else "a plain tensor" for x in (one, two))
            yield Change(name, "kind", " and ".join(kinds))
        elif one:
            yield Change(name, "only in the first", f"{one.dtype} {one.shape}")
        elif two:
            yield Change(name, "only in the second", f"{two.dtype} {two.shape}")


def _named(contents: Contents, name: str) -> TensorInfo | OtherTensor | None:
    """Return a tensor; in a safetensors file, another name of it may stand in the metadata."""
    found = contents.tensors.get(name) or contents.others.get(name)
    if found is None and contents.kind == SAFETENSORS:
        found = contents.tensors.get(contents.tree.get(name, ""))
    return found


def _metadata(walk: NodeComparison, left: Contents, right: Contents) -> Iterator[Change]:
    if left.kind == right.kind:
        yield from walk.changes("__metadata__", left.tree, right.tree)
    else:
        yield Change(
            "(all values)",
            NOT_COMPARED,
            f"a {left.kind} and a {right.kind} hold them differently; "
            "compare tensors only (--tensors-only)",
        )


def report(options: argparse.Namespace) -> Report:
    """Compare ``options.first`` with ``options.second``, for the command line."""
    ignore = options.ignore.split(",") if options.ignore else []
    try:
        found = diff(
            options.first, options.second, tensors_only=options.tensors_only, ignore=ignore
        )
    except ValueError as error:
        return refusal(error, IMPOSSIBLE)
    data = {
        "first": options.first,
        "second": options.second,
        "tensors": found.tensors,
        "values": found.values,
        "not_compared": list(found.ignored),
        "differences": [change._asdict() for change in found],
    }
    if found.same:
        return Report(FINE, "the same", found.headline, data)
    return Report(PROBLEM, "different", found.headline, data, found.table)
