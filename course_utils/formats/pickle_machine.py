"""The stack machine of pickle, over inert nodes: follows instructions, imports and calls nothing.

The opcodes are those of the standard library's ``pickletools``, which documents each one.
"""

from itertools import count
from typing import Any

from course_utils.formats.pickle_nodes import (
    APPENDED,
    Call,
    Global,
    MalformedPickleError,
    OrderedDictNode,
    PersistentId,
    TooMuchError,
    Twice,
)

ORDERED_DICT = Global("collections", "OrderedDict")
NEWEST = 5  # protocol
KEY_ITEMS = 100  # in a tuple used as a key; shared parts can make it exponentially large
KEY_DEPTH = 16  # of tuples in such a key; hashing one nested a million deep would crash Python
KEY_INTEGER = 2**64  # larger integers can be made to collide, or to take long to hash
HUGE_KEYS = 1000  # so many of them do no harm


class Machine:
    """The unpickler's stack, marks and memo; a public method is what an instruction does.

    Attributes:
        stack: the values since the last MARK.
        globals: everything imported so far.
        calls: everything called so far.
        persistent: every reference to something outside so far.
        changed: what was imported and would then itself be changed.
        problem: the first thing that makes no sense, and yet does not stop an unpickler.
        frame_end: position at which the present frame ends, None outside of frames.
        frames_disagree: whether frames ended where instructions did not.
    """

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []  # the stacks set aside by MARK
        self.memo: dict[int, Any] = {}
        self.globals: set[Global] = set()
        self.calls: list[Call] = []
        self.persistent: list[PersistentId] = []
        self.changed: list[Any] = []
        self.frame_end: int | None = None
        self.problem: str | None = None
        self.too_much = self.frames_disagree = False
        self._huge_keys = 0

    def fresh(self) -> "Machine":
        """Return a machine of the same kind that has done nothing yet."""
        return type(self)()

    def complain(self, problem: str, *, of_frames: bool = False) -> None:
        """Note what is wrong, and go on where an unpickler would go on."""
        self.problem = self.problem or problem
        self.frames_disagree |= of_frames

    def check_frame(self, position: int) -> None:
        """Complain of a frame that ends inside an instruction.

        CPython's faster unpickler then reads other instructions; the slower one reads on as here.
        """
        if self.frame_end is None or position < self.frame_end:
            return
        if position > self.frame_end:
            self.complain("an instruction crosses the end of its frame", of_frames=True)
        self.frame_end = None

    def check_end(self) -> None:
        """Complain of a frame that goes on: what is in it is lost to whoever reads on."""
        if self.frame_end is not None:
            self.complain("its last frame goes on after its end", of_frames=True)

    def protocol(self, number: int) -> None:
        if number > NEWEST:
            raise MalformedPickleError(f"it says it is of protocol {number}, which no Python has")

    def frame(self, end: int) -> None:
        if self.frame_end is not None:
            self.complain("a frame begins inside another", of_frames=True)
        self.frame_end = end

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop_mark(self) -> list[Any]:
        items, self.stack = self.stack, self.marks.pop()
        return items

    def mark(self, _: Any) -> None:
        self.marks.append(self.stack)
        self.stack = []

    def pop(self, _: Any) -> None:
        if self.stack:
            self.stack.pop()
        else:
            self.pop_mark()

    def put(self, number: int) -> None:
        self.memo[number] = self.stack[-1]

    def memoize(self, _: Any) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def get(self, number: int) -> None:
        self.stack.append(self.memo[number])

    def take(self, count: int) -> tuple[Any, ...]:
        if len(self.stack) < count:
            raise MalformedPickleError("the stack is empty where a value is needed")
        taken = tuple(self.stack[-count:])
        del self.stack[-count:]
        return taken

    def import_pair(self, pair: tuple[str, str]) -> None:
        self.push_global(*pair)

    def import_from_stack(self, _: Any) -> None:
        self.push_global(*self.take(2))

    def import_extension(self, code: int) -> None:
        self.push_global("copyreg extension", str(code))

    def push_global(self, module: Any, name: Any) -> None:
        if not (isinstance(module, str) and isinstance(name, str)):
            # A name computed by the pickle itself cannot be known without running it.
            module, name = _computed(module), _computed(name)
        found = Global(module, name)
        self.globals.add(found)
        self.stack.append(found)

    def reduce(self, _: Any) -> None:
        function, arguments = self.take(2)
        self.call(function, arguments, "REDUCE")

    def new_object(self, _: Any) -> None:
        function, arguments = self.take(2)
        self.call(function, arguments, "NEWOBJ")

    def new_object_with_keywords(self, _: Any) -> None:
        function, arguments, keywords = self.take(3)
        arguments = arguments if isinstance(arguments, tuple) else (arguments,)
        self.call(function, (*arguments, keywords), "NEWOBJ_EX")

    def instance(self, pair: tuple[str, str]) -> None:
        self.import_pair(pair)  # CPython's slower unpickler looks for the mark only then
        function = self.stack.pop()
        self.call(function, tuple(self.pop_mark()), "INST")

    def object(self, _: Any) -> None:
        function, *arguments = self.pop_mark()
        self.call(function, tuple(arguments), "OBJ")

    def call(self, function: Any, arguments: Any, opcode: str) -> None:
        if isinstance(function, Global) and function.path == ORDERED_DICT.path:
            pairs = _pairs_of(arguments)
            if pairs is not None:
                self.stack.append(OrderedDictNode())
                if pairs:
                    self.set_pairs(pairs)
                return
        made = Call(function, arguments, opcode)
        self.calls.append(made)
        self.stack.append(made)

    def build(self, _: Any) -> None:
        (state,) = self.take(1)
        target = self.stack[-1]
        if isinstance(target, OrderedDictNode) and isinstance(state, dict) and not target.state:
            target.state = state
        elif isinstance(target, Call):
            # A second BUILD would run a second __setstate__: keep both.
            target.state = state if target.state is None else Twice((target.state, state))
            self.built(target)
        else:
            self.change(target, "sets attributes on")

    def built(self, target: Call) -> None:
        """Be told of an object that has got a state."""

    def append(self, _: Any) -> None:
        self.extend_top([self.stack.pop()])

    def appends(self, _: Any) -> None:
        self.extend_top(self.pop_mark())

    def extend_top(self, values: list[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, list):
            target.extend(values)
        elif isinstance(target, set):
            target.update(map(self.key, values))
        elif isinstance(target, Call):
            target.items.extend((APPENDED, value) for value in values)
        else:
            self.change(target, "appends to")

    def set_item(self, _: Any) -> None:
        self.set_pairs(list(self.take(2)))

    def set_items(self, _: Any) -> None:
        self.set_pairs(self.pop_mark())

    def set_pairs(self, flat: list[Any]) -> None:
        target = self.stack[-1]
        pairs = zip(flat[::2], flat[1::2], strict=True)
        if isinstance(target, dict):
            for key, value in pairs:
                target[key if type(key) is str else self.key(key)] = value
        elif isinstance(target, Call):
            target.items.extend(pairs)
        else:
            self.change(target, "sets items on")

    def change(self, target: Any, what: str) -> None:
        """Note that something is changed that a checkpoint never changes."""
        if isinstance(target, Global):
            self.changed.append(target)
        else:
            self.complain(f"{what} a {type(target).__name__}")

    def key(self, value: Any) -> Any:
        """Return a value that can be hashed without harm; one in its place if it cannot."""
        if type(value) is int and abs(value) > KEY_INTEGER:
            self._huge_keys += 1
            if self._huge_keys > HUGE_KEYS:
                return self.unhashed(value, f"uses more than {HUGE_KEYS:,} huge integers as keys")
            return value
        try:
            return hashable(value)
        except TooMuchError as error:
            return self.unhashed(value, str(error))
        except MalformedPickleError as error:
            self.complain(str(error))
            return Unhashed(value)

    def unhashed(self, value: Any, problem: str) -> "Unhashed":
        self.complain(problem)
        self.too_much = True
        return Unhashed(value)

    def refer(self, _: Any) -> None:
        self.refer_to(self.stack.pop())

    def refer_to(self, value: Any) -> None:
        self.persistent.append(PersistentId(value))
        self.stack.append(self.persistent[-1])

    def make_dict(self, _: Any) -> None:
        flat = self.pop_mark()
        self.stack.append({})
        self.set_pairs(flat)


def _pairs_of(arguments: Any) -> list[Any] | None:
    """Return keys and values in turn for a call of nothing, or of pairs, as Python 2 wrote it."""
    match arguments:
        case ():
            return []
        case ([*pairs],) if all(type(pair) is list and len(pair) == 2 for pair in pairs):
            return [part for pair in pairs for part in pair]
    return None


class Unhashed:
    """Stands for a key that is not hashed, as that might take for ever."""

    def __init__(self, value: Any) -> None:
        self.value = value


def hashable(value: Any) -> Any:
    """Return a value that can be hashed without harm, or refuse it."""
    pending = [(value, 0)]
    for visited in count():
        if not pending:
            return value
        part, depth = pending.pop()
        if visited > KEY_ITEMS or depth > KEY_DEPTH:
            raise TooMuchError("uses a tuple with more tuples in it than make sense as key")
        if isinstance(part, tuple):
            pending += [(item, depth + 1) for item in part[: KEY_ITEMS + 1]]
        elif isinstance(part, int) and abs(part) > KEY_INTEGER:
            raise TooMuchError("uses a huge integer in a key")
        elif part is not None and not isinstance(part, _KEYS):
            raise MalformedPickleError(f"uses a {type(part).__name__} as a key")


def _computed(value: Any) -> str:
    return value if isinstance(value, str) else f"<computed {type(value).__name__}>"


_KEYS = (str, int, float, bytes, Global, Call, PersistentId)
