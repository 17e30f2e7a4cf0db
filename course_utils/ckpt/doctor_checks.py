"""The doctor's checks of names, memory, dtypes and parts; none reads a tensor's numbers."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from typing import Any

from course_utils.ckpt.complaints import Complaint, note, warning
from course_utils.ckpt.parts import Parts
from course_utils.ckpt.report import counted
from course_utils.ckpt.wrappers import find_wrapped, strips_rightly
from course_utils.formats.contents import CHECKPOINTS, SAFETENSORS, Contents
from course_utils.formats.dtypes import PER_BYTE, is_float
from course_utils.formats.tensors import TensorInfo
from course_utils.formats.wrappers import ASSIGN_MARK

WASTE = 4096  # bytes that no tensor shows, below which nobody need care
LARGE = 64 << 10  # bytes of a record, below which storing it twice costs nothing
BLOCK = 1 << 20
DTENSOR = "torch.distributed.tensor.DTensor"
Check = Callable[[Contents, Parts], Iterator[Complaint]]


def _wrappers(contents: Contents, parts: Parts) -> Iterator[Complaint]:
    for found in find_wrapped(parts.weights):
        where = f" of '{found.path}'" if found.path else ""
        keys = counted(len(found.keys), "key")
        what = f"{keys}{where} with '{found.name}.', which a wrapper added"
        if found.name == "module":
            what = (
                f"every key{where} begins with 'module.', as DataParallel and "
                "DistributedDataParallel write them; the model itself has other names"
            )
        if contents.kind in CHECKPOINTS and strips_rightly(found, parts.weights):
            remedy = "`ckpt strip-prefix`, or save the state_dict of the module inside the wrapper"
        else:
            remedy = (
                "torch.nn.modules.utils.consume_prefix_in_state_dict_if_present on that part alone"
            )
        yield warning("prefix", what, remedy)


def _slices(contents: Contents, _: Parts) -> Iterator[Complaint]:
    """Storages of which the tensors show only a part: saving a slice saves the whole."""
    shown: dict[str, list[tuple[int, int]]] = defaultdict(list)
    owners: dict[str, TensorInfo] = {}
    for info in contents.tensors.values():
        if info.record is not None:
            shown[info.record].append(_stretch(info))
            owners.setdefault(info.record, info)
    for record, info in owners.items():
        covered = _covered(shown[record])
        if info.storage_nbytes - covered > WASTE:
            what = (
                f"{info.name} and what shares its memory show {covered:,} of the "
                f"{info.storage_nbytes:,} bytes that are saved for them"
            )
            yield warning("slice", what, "`ckpt slim`, or save a .clone() of it")


def _stretch(info: TensorInfo) -> tuple[int, int]:
    """Return the bytes of the storage from a tensor's first element to its last."""
    packed = PER_BYTE.get(info.dtype, 1)
    start = info.storage_offset * info.itemsize // packed
    return start, start + -(-info.span * info.itemsize // packed)


def _covered(stretches: list[tuple[int, int]]) -> int:
    """Return how many bytes lie in at least one stretch."""
    total = reached = 0
    for start, stop in sorted(stretches):
        total += max(0, stop - max(start, reached))
        reached = max(reached, stop)
    return total


def _live_references(contents: Contents, parts: Parts) -> Iterator[Complaint]:
    """State_dicts under two names whose tensors are one memory."""
    places = {path: _places(contents, path, state) for path, state in parts.weights.items()}
    paths = [path for path, found in places.items() if found]
    for i, one in enumerate(paths):
        for two in paths[i + 1 :]:
            small, large = sorted((places[one], places[two]), key=len)
            if all(large.get(key) == place for key, place in small.items()):
                shared = counted(len(small), "tensor")
                yield warning(
                    "live reference",
                    f"'{one}' and '{two}' share the memory of {shared}: one state, two names",
                    "if one of them should stay as it was, keep copy.deepcopy(model.state_dict())",
                )


def _places(contents: Contents, path: str, state: dict[str, Any]) -> dict[str, tuple[Any, ...]]:
    found = {}
    for key in state:
        info = contents.tensors.get(f"{path}.{key}" if path else key)
        if info is not None and info.record is not None and info.nbytes:
            found[key] = (info.record, info.storage_offset, info.shape, info.stride)
    return found


def _copies(contents: Contents, _: Parts) -> Iterator[Complaint]:
    """Records with equal bytes. Constant ones, as new norms and moments are, do not count."""
    owners: dict[str, str] = {}
    for info in contents.tensors.values():
        owners.setdefault(info.record or "", info.name)
    alike: dict[tuple[int, int], list[str]] = defaultdict(list)
    for name in owners:
        stored = contents.records.get(name)
        if stored is not None and stored.crc32 and stored.size >= LARGE:
            alike[stored.size, stored.crc32].append(name)
    for (size, _crc), (first, *others) in alike.items():
        same = [name for name in others if _is_same(contents, first, name)]
        if same:
            shown = " = ".join(owners[name] for name in [first, *same][:3])
            what = f"{size:,} equal bytes in {len(same) + 1} places: {shown}"
            remedy = "to save them once, put the same tensor in both places instead of a copy"
            yield note("stored twice", what, remedy)


def _is_same(contents: Contents, one: str, two: str) -> bool:
    """Whether two records hold the same bytes, and not one byte over and over."""
    sources = [contents.content(contents.records[name]) for name in (one, two)]
    varied = False
    for start in range(0, sources[0].size, BLOCK):
        a, b = (source.read_at(start, BLOCK) for source in sources)
        if a != b:
            return False
        varied |= a[16:] != a[:-16]  # 16: elements have at most so many bytes
    return varied


def _dtypes(contents: Contents, parts: Parts) -> Iterator[Complaint]:
    """Floating dtypes within one state_dict; an optimizer's may differ from its model's."""
    for path, state in parts.weights.items():
        found: dict[str, str] = {}
        for key in state:
            info = contents.tensors.get(f"{path}.{key}" if path else key)
            if info is not None and is_float(info.dtype):
                found.setdefault(info.dtype, info.name)
        if len(found) > 1:
            examples = ", ".join(f"{dtype} ({name})" for dtype, name in found.items())
            yield note(
                "dtypes",
                f"{path or 'the state_dict'} mixes {examples}",
                "fine if meant; mind that assign=True keeps the file's dtypes, and plain "
                "load_state_dict the model's",
            )


def _devices(contents: Contents, _: Parts) -> Iterator[Complaint]:
    devices = {info.device for info in contents.tensors.values()}
    for device in sorted(devices - {"cpu", "meta"}):
        what = f"saved on {device}: torch.load wants that device, if not told otherwise"
        yield note("device", what, 'load with map_location="cpu"')
    bare = [info.name for info in contents.tensors.values() if info.device == "meta"]
    if bare:
        what = f"{counted(len(bare), 'tensor')} without values (meta device): {', '.join(bare[:3])}"
        yield warning("device", what, "give them values, then save: to_empty(device=…), then load")


def _unread(contents: Contents, _: Parts) -> Iterator[Complaint]:
    """Tensors that are not plain memory."""
    kinds = Counter(other.kind for other in contents.others.values())
    for kind, count in kinds.items():
        name = next(other.name for other in contents.others.values() if other.kind == kind)
        if kind == DTENSOR:
            yield warning(
                "dtensor",
                f"{counted(count, 'DTensor')} ({name}, …): the file holds what one process had of "
                "them; loading binds them to whatever process group has the name of theirs, and "
                "in a group of one a sum is that of one part",
                "save full tensors: get_model_state_dict of torch.distributed.checkpoint with "
                "StateDictOptions(full_state_dict=True), or tensor.full_tensor()",
            )
        else:
            what = f"{counted(count, 'tensor')} not looked into ({name}, …): {kind}"
            yield note("not read", what, "load them with torch to see them")


def _marks(_: Contents, parts: Parts) -> Iterator[Complaint]:
    """The mark that ``load_state_dict(assign=True)`` leaves, https://github.com/pytorch/pytorch/issues/188166."""
    for path, state in parts.weights.items():
        attributes = getattr(state, "state", None) or {}
        metadata = attributes.get("_metadata")
        entries = metadata.values() if isinstance(metadata, dict) else ()
        if any(isinstance(entry, dict) and entry.get(ASSIGN_MARK) for entry in entries):
            where = f"'{path}'" if path else "the state_dict"
            yield warning(
                "assign",
                f"load_state_dict(assign=True) left a mark in {where}: every load from it assigns "
                "too, and an optimizer built before keeps the old parameters",
                "before loading: for entry in state_dict._metadata.values(): "
                f'entry.pop("{ASSIGN_MARK}", None)',
            )


def _incomplete(contents: Contents, parts: Parts) -> Iterator[Complaint]:
    """What a run would miss that goes on from this file."""
    if contents.kind == SAFETENSORS or not parts.is_training:
        return
    for path in parts.empty:
        yield warning("resume", f"'{path}' is empty", "save optimizer.state_dict()")
    meant_to = bool(parts.schedulers or parts.generators)
    if not parts.optimizers and not parts.empty:
        make = warning if meant_to else note
        what = "no optimizer's state is in it: a run cannot go on from it as it was"
        yield make("resume", what, "to go on from it, save optimizer.state_dict() too")
    for found, what, remedy in (
        (parts.schedulers, "scheduler's state", "if there is one, save its state_dict() too"),
        (parts.generators, "random number state", "for the same dropout and order, save it too"),
        (parts.positions, "step or epoch", "save where the run stood"),
    ):
        if not found:
            yield note("resume", f"no {what} is in it", remedy)


CONTENT_CHECKS: tuple[Check, ...] = (
    _wrappers, _slices, _live_references, _copies, _dtypes, _devices, _unread, _marks, _incomplete,
)  # fmt: skip
