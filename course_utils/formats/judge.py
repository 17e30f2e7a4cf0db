"""Judges a pickle that was read and not run: what would loading it do?

``torch.load(weights_only=True)`` has a short list of functions that a file may call. Here the same
list counts as plain data, if they are called as ``torch.save`` writes them. Some more are known to
build values and do nothing else. Whatever is called beyond that would run code.
"""

import _compat_pickle
import sys
from collections.abc import Callable, Iterator
from enum import Enum
from typing import Any, NamedTuple

from course_utils.formats.allowed import TORCH_ALLOWS
from course_utils.formats.pickle import Pickle
from course_utils.formats.pickle_nodes import (
    Call,
    Global,
    MalformedPickleError,
    PersistentId,
    describe,
)
from course_utils.formats.tensors import TYPED, is_tensor, tensor_at


class Verdict(Enum):
    """What loading a file would mean, from harmless to harmful."""

    NOT_A_CHECKPOINT = "not a checkpoint"
    PLAIN_DATA = "plain data"
    NEEDS_GLOBALS = "needs these globals"
    MALFORMED = "malformed"  # nothing that torch.save or pickle writes, whoever wrote it
    DAMAGED = "damaged"  # bytes have changed or are missing
    WOULD_RUN_CODE = "would run code"

    @property
    def rank(self) -> int:
        """Its place in the order above."""
        return list(Verdict).index(self)


class Finding(NamedTuple):
    """One reason for a verdict, and the part of the file that gives it."""

    verdict: Verdict
    where: str
    reason: str


def judge(content: Pickle, where: str) -> Iterator[tuple[Finding, Call | None]]:
    """Yield why a pickle is not plain data, and the call that is the reason, if it is one."""
    called = {function_of(call) for call in content.calls}
    for found in sorted(content.globals - called, key=str):
        verdict = _verdict_on_import(found)
        if verdict is not Verdict.PLAIN_DATA:
            yield Finding(verdict, where, f"imports {modern_name(found)}"), None
    for call in content.calls:
        verdict, problem = _judge_call(call)
        if verdict is not Verdict.PLAIN_DATA:
            yield Finding(verdict, where, problem or f"calls {show(call)}"), call
    for name in sorted({modern_name(target) for target in content.changed}):
        yield Finding(Verdict.WOULD_RUN_CODE, where, f"changes {name}, which it imports"), None
    if content.problem:
        yield Finding(Verdict.MALFORMED, where, content.problem), None


def show(call: Call) -> str:
    """Return a call as Python would write it, arguments shortened."""
    function = function_of(call)
    name = modern_name(function) if function else "what the pickle itself computes"
    arguments = call.arguments if isinstance(call.arguments, tuple) else (call.arguments,)
    shown = [describe(argument) for argument in arguments[:4]]
    return f"{name}({', '.join(shown)}{', …' if len(arguments) > 4 else ''})"


def modern_name(found: Global) -> str:
    """Return the name under which Python 3 imports what a pickle of Python 2 names."""
    pair = (found.module, found.name)
    if pair in _compat_pickle.NAME_MAPPING:
        pair = _compat_pickle.NAME_MAPPING[pair]
    module, name = pair
    return f"{_compat_pickle.IMPORT_MAPPING.get(module, module)}.{name}"


def function_of(call: Call) -> Global | None:
    """Return what is called; None if the pickle computes it."""
    match call.function:
        case Global() as function:
            return function
        case PersistentId(value=("module", Global() as function, *_)):  # torch before 1.6
            return function
    return None


def nested_file(call: Call) -> bytes | None:
    """Return the file inside the pickle that this call would load with ``torch.load``, if any."""
    if describe(call.function) != LOAD:
        return None
    match call.arguments:
        case (bytes(data),):
            return data
        case (Call(arguments=(str(text), str()), function=function),) if _is(function, ENCODE):
            return text.encode("latin1", "replace")
    return b""  # computed in another way: nothing that could be judged


ENCODE = "_codecs.encode"  # how protocol 2 writes bytes
LOAD = "torch.storage._load_from_bytes"  # how plain pickle, unlike torch.save, writes storages
LAYERS = (
    8  # a parameter is rebuilt from a tensor of a class, that from a tensor, that from a storage
)
# Known to build a value and do nothing else. All but torch's own need `safe_globals` to load.
VALUE_TYPES = frozenset(
    """builtins.bool builtins.bytes builtins.dict builtins.float builtins.frozenset builtins.int
    builtins.list builtins.object builtins.range builtins.slice builtins.str builtins.tuple
    builtins.Ellipsis builtins.NotImplemented
    collections.defaultdict collections.deque
    datetime.date datetime.datetime datetime.time datetime.timedelta datetime.timezone
    pathlib.Path pathlib.PosixPath pathlib.PurePath pathlib.PurePosixPath pathlib.WindowsPath
    pathlib.PureWindowsPath pathlib._local.Path pathlib._local.PosixPath pathlib._local.WindowsPath
    numpy.dtype numpy.ndarray numpy.core.multiarray._reconstruct numpy.core.multiarray.scalar
    numpy._core.multiarray._reconstruct numpy._core.multiarray.scalar
    numpy.core.numeric._frombuffer numpy._core.numeric._frombuffer
    argparse.Namespace types.SimpleNamespace decimal.Decimal fractions.Fraction uuid.UUID
    torch.nested._internal.nested_tensor._rebuild_njt
    torch.nn.parameter.UninitializedBuffer torch.nn.parameter.UninitializedParameter
    torch._C.Generator torch.storage._load_from_bytes torch.torch_version.TorchVersion""".split()  # noqa: SIM905
)


def _judge_call(call: Call) -> tuple[Verdict, str | None]:
    function, arguments = function_of(call), call.arguments
    if function is None:
        return Verdict.WOULD_RUN_CODE, None
    name = modern_name(function)
    if name in TORCH_ALLOWS:
        return _judge_allowed(name, call)
    if name == "copyreg._reconstructor":  # object.__new__ of a class, from before protocol 2
        safe = isinstance(arguments, tuple) and len(arguments) == 3
        safe = safe and _is(arguments[1], "builtins.object") and isinstance(arguments[0], Global)
        return (_verdict_on_import(arguments[0]) if safe else Verdict.WOULD_RUN_CODE), None
    if call.opcode.startswith("NEWOBJ"):
        return max(_verdict_on_import(function), Verdict.NEEDS_GLOBALS, key=lambda v: v.rank), None
    return (Verdict.NEEDS_GLOBALS if name in VALUE_TYPES else Verdict.WOULD_RUN_CODE), None


def _verdict_on_import(found: Global) -> Verdict:
    name = modern_name(found)
    if name in TORCH_ALLOWS:
        return Verdict.PLAIN_DATA
    if name in VALUE_TYPES or name == "copyreg._reconstructor":
        return Verdict.NEEDS_GLOBALS
    package = found.module.split(".")[0]
    known = package in sys.stdlib_module_names or package == "__builtin__"
    if known or "<computed" in name or "copyreg extension" in name:
        return Verdict.WOULD_RUN_CODE  # nothing a checkpoint needs lies there, but all tools do
    return Verdict.NEEDS_GLOBALS


def _judge_allowed(name: str, call: Call) -> tuple[Verdict, str | None]:
    """Look at how an allowed function is called: torch's list says nothing about arguments."""
    if is_tensor(call):
        try:
            tensor_at("of a tensor", call)
        except MalformedPickleError as error:
            if _is_in_a_file(call):
                return Verdict.NEEDS_GLOBALS, "rebuilds a tensor that is a file of its own"
            return Verdict.MALFORMED, str(error)
    if name == "torch._utils._rebuild_nested_tensor":
        return Verdict.NEEDS_GLOBALS, "holds a nested tensor, whose offsets nothing checks"
    if name == TYPED and not _is_rebuild_of_torch(call.arguments):
        return _judge_inner(call)
    accepts = _CALLS.get(name)
    usual = accepts is not None and isinstance(call.arguments, tuple) and accepts(call.arguments)
    if usual and call.state is None and not call.items:
        return Verdict.PLAIN_DATA, None
    return Verdict.MALFORMED, f"calls {show(call)} as torch.save never does"


def _is(node: Any, name: str) -> bool:
    return isinstance(node, Global) and modern_name(node) == name


def _one(*types: type) -> Callable[[tuple[Any, ...]], bool]:
    """Accept no argument, or one of these types."""
    return lambda arguments: (
        len(arguments) < 2 and all(isinstance(argument, types) for argument in arguments)
    )


def _is_text_as_bytes(arguments: tuple[Any, ...]) -> bool:
    return len(arguments) == 2 and isinstance(arguments[0], str) and _is_codec(arguments[1])


def _is_codec(name: Any) -> bool:
    return isinstance(name, str) and name in ("latin1", "latin-1", "utf-8", "ascii")


def _judge_inner(call: Call) -> tuple[Verdict, str | None]:
    """Judge the function that ``_rebuild_from_type_v2(function, type, arguments, state)`` calls."""
    match call.arguments:
        case (Global() as function, Global(), tuple() as arguments, _):
            inner = Call(function, arguments)
            return _judge_call(inner)[0], f"calls {show(inner)}"
    return Verdict.WOULD_RUN_CODE, None


def _is_rebuild_of_torch(arguments: Any) -> bool:
    match arguments:
        case (Global(module="torch._utils", name=name), Global(), tuple(), _):
            return name.startswith("_rebuild_") and f"torch._utils.{name}" in TORCH_ALLOWS
    return False


def _is_in_a_file(node: Any) -> bool:
    """Whether a tensor's storage is a file inside the pickle, as plain pickle writes it."""
    for _ in range(LAYERS):
        if not (isinstance(node, Call) and isinstance(node.arguments, tuple) and node.arguments):
            break
        if describe(node.function) == LOAD:
            return True
        inner = node.arguments[2:3] if describe(node.function) == TYPED else node.arguments[:1]
        node = inner[0] if inner else None
        node = node[0] if isinstance(node, tuple) and node else node
    return False


def _any(_: tuple[Any, ...]) -> bool:
    return True


_CALLS: dict[str, Callable[[tuple[Any, ...]], bool]] = {
    "collections.OrderedDict": _one(list, tuple, dict),
    "collections.Counter": _one(dict),
    ENCODE: _is_text_as_bytes,
    # Not an integer: bytearray(10**12) is a terabyte of zeros.
    "builtins.bytearray": lambda a: _is_text_as_bytes(a) or _one(bytes, Call)(a),
    "builtins.set": _one(list, tuple, set),
    "builtins.complex": lambda a: len(a) < 3 and all(isinstance(x, int | float) for x in a),
    "torch.Size": _one(list, tuple),
    "torch.device": lambda a: bool(a) and isinstance(a[0], str),
    "torch.serialization._get_layout": _one(str),
    "torch.nn.parameter.Parameter": lambda a: bool(a) and isinstance(a[0], Call),
    TYPED: _is_rebuild_of_torch,
    **{
        f"torch._utils.{name}": _any
        for name in [
            "_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_tensor_v3", "_rebuild_qtensor",
            "_rebuild_parameter", "_rebuild_parameter_with_state", "_rebuild_sparse_tensor",
            "_rebuild_meta_tensor_no_storage", "_rebuild_wrapper_subclass",
            "_rebuild_device_tensor_from_cpu_tensor", "_rebuild_device_tensor_from_numpy",
        ]
    },
}  # fmt: skip
