"""Joins described files into the description of a whole folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from course_utils.errors import DamagedCheckpointError, UnsupportedCheckpointError
from course_utils.formats.contents import SAFETENSORS, Contents
from course_utils.formats.find_tensors import find_tensors
from course_utils.formats.joined import Joined
from course_utils.formats.pickle_nodes import MalformedPickleError, NotReadError, PersistentId
from course_utils.formats.source import Source
from course_utils.formats.tensor_nodes import tensor_node
from course_utils.formats.trees import nodes
from course_utils.formats.zip import Record


class Parts:
    """The files of a folder, joined one after the other; their storages get new numbers.

    Args:
        path: of the folder.
        kind: what it is.
    """

    def __init__(self, path: Path, kind: str) -> None:
        self._path, self._kind = path, kind
        self.source = Joined()
        self.files: list[Contents] = []
        self.spent = 0  # bytes of the pickles and headers that described the tensors
        self._numbered = 0
        self._records: dict[str, Record] = {}
        self._blocks: dict[str, tuple[tuple[Contents, Record], ...]] = {}
        self._globals: set[str] = set()
        self._orders: set[str] = set()

    def add(self, contents: Contents) -> Any:
        """Append a file; return its tree, with the new numbers of its storages."""
        self.files.append(contents)
        return self.place(contents, self.source.add(contents.source))

    def place(self, contents: Contents, start: int) -> Any:
        """Return the tree of contents whose first byte is at ``start`` of all."""
        self._globals |= contents.globals
        if contents.kind == SAFETENSORS:
            return self._from_safetensors(contents, start)
        self.spent += len(contents.pickle)
        numbers: dict[str, str] = {}
        for node in nodes(contents.tree):
            if isinstance(node, PersistentId):
                self._renumber(node, numbers)
        for key, number in numbers.items():
            record = contents.records.get(f"data/{key}")
            if record is not None:
                self._records[f"data/{number}"] = _moved(record, number, start, contents.checksums)
        if numbers:
            self._orders.add(contents.byteorder)
        return contents.tree

    def tensor(
        self,
        dtype: str,
        shape: tuple[int, ...],
        source: Source,
        blocks: Sequence[tuple[Contents, Record]],
    ) -> Any:
        """Append the elements of a tensor, in order; return its node.

        Args:
            dtype: of the tensor.
            shape: of the whole.
            source: its elements.
            blocks: the records that they come from, and what these lie in.
        """
        number = self._next()
        self._blocks[f"data/{number}"] = tuple(blocks)
        start, size = self.source.add(source), source.size
        self._records[f"data/{number}"] = Record(
            f"data/{number}", start, start, start, size, size, None, False
        )
        self._orders.add("little")
        return tensor_node(number, dtype, shape, size)

    def described(
        self, tree: Any, oddities: Sequence[str], files: Sequence[Contents] | None = None
    ) -> Contents:
        """Return the description of the whole.

        Args:
            tree: made of the trees of its files.
            oddities: what does not fit, and yet does not keep it from being read.
            files: what verifying looks at, if not the files that were added.

        Raises:
            UnsupportedCheckpointError: its files have different byte orders.
        """
        if len(self._orders) > 1:
            raise UnsupportedCheckpointError(
                f"{self._path}: some of its files are little-endian, others big-endian. Convert "
                "its files one by one."
            )
        try:
            found = find_tensors(tree, limit=self.spent)
        except NotReadError as error:
            raise UnsupportedCheckpointError(f"{self._path}: it is not read: {error}.") from None
        except MalformedPickleError as error:
            raise DamagedCheckpointError(f"{self._path}: it is damaged: {error}.") from None
        whole = Contents(
            self._path, self.source, self._kind, self._records, found.tensors, found.others,
            found.collided, frozenset(self._globals), tree,
        )  # fmt: skip
        return whole._replace(
            byteorder=next(iter(self._orders), "little"),
            checksums=any(record.crc32 is not None for record in self._records.values()),
            files=tuple(self.files if files is None else files),
            oddities=tuple(oddities),
            blocks=self._blocks,
        )

    def _from_safetensors(self, contents: Contents, start: int) -> dict[str, Any]:
        self._orders.add("little")
        tree = {}
        for name, info in contents.tensors.items():
            number = self._next()
            record = contents.records[name]
            self._records[f"data/{number}"] = _moved(record, number, start, checksums=False)
            tree[name] = tensor_node(number, info.dtype, info.shape, record.size)
            self.spent += 16 + len(name)
        return tree

    def _renumber(self, node: PersistentId, numbers: dict[str, str]) -> None:
        value = node.value
        if isinstance(value, tuple) and len(value) >= 5 and isinstance(value[2], str):
            if value[2] not in numbers:
                numbers[value[2]] = self._next()
            node.value = (*value[:2], numbers[value[2]], *value[3:])

    def _next(self) -> str:
        self._numbered += 1
        return str(self._numbered - 1)


def _moved(record: Record, number: str, start: int, checksums: bool) -> Record:
    return record._replace(
        name=f"data/{number}",
        header=record.header + start,
        padding=record.padding + start,
        offset=record.offset + start,
        crc32=record.crc32 if checksums else None,
    )
