"""What is read at once is what its instructions make one by one."""

import io
import pickle
import random
import re
import zipfile

import pytest
import torch

from course_utils.formats import pickle_fast_path, pickle_instructions
from course_utils.formats.pickle import scan_pickle
from course_utils.formats.pickle_machine import Machine
from course_utils.formats.pickle_nodes import Call, OrderedDictNode, PersistentId

MANY = 100  # tensors: the first of them are spelled with short numbers, and not read at once


DTYPES = (torch.int8, torch.bfloat16)


class Slow(Machine):
    """For which nothing is read at once."""


def pickled(tmp_path, state, **options):
    torch.save(state, tmp_path / "a.pt", **options)
    with zipfile.ZipFile(tmp_path / "a.pt") as archive:
        return archive.read("a/data.pkl")


def picture(content):
    """Return all that was read, what is the same object by its number."""
    numbers = {}

    def of(node):
        if isinstance(node, str | int | float | bool | bytes | None):
            return node
        seen = id(node) in numbers
        number = numbers.setdefault(id(node), len(numbers))
        if seen:
            return ("again", number)
        match node:
            case PersistentId():
                return ("reference", number, of(node.value))
            case Call():
                parts = (node.function, node.arguments, node.opcode, node.state, node.items)
                return ("call", number, *map(of, parts))
            case dict():
                state = getattr(node, "state", None)
                items = [(of(key), of(value)) for key, value in node.items()]
                return (type(node).__name__, number, items, of(state))
            case list() | tuple():
                return (type(node).__name__, number, *map(of, node))
        return re.sub(r" at 0x\w+", "", repr(node))

    root = of(content.root)
    rest = (content.length, content.problem, content.doubtful, content.too_much)
    imports = sorted(map(str, content.globals))
    return root, of(content.calls), of(content.persistent), of(list(content.changed)), imports, rest


def assert_same(data):
    fast, slow = (picture(scan_pickle(io.BytesIO(data), machine)) for machine in (None, Slow()))
    assert fast == slow


@pytest.fixture
def followed(monkeypatch):
    """Counts the tensors that are read at once."""
    counts, follow = [], pickle_fast_path._follow

    def counted(*arguments):
        counts.append(follow(*arguments))
        return counts[-1]

    monkeypatch.setattr(pickle_fast_path, "_follow", counted)
    return counts


def states():
    torch.manual_seed(0)
    shapes = [(), (1,), (300,), (4, 4), (2, 0), (1, 2, 3), (2, 3, 70_000), (2, 1, 3, 3), (1,) * 9]
    some = {f"{n}.{shape}": torch.empty(shape) for n in range(12) for shape in shapes}
    base = torch.arange(100_000.0)
    model = torch.nn.Sequential(*(torch.nn.BatchNorm2d(3) for _ in range(MANY)))
    optimizer = torch.optim.Adam(model.parameters())
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    return {
        "shapes": some,
        "views": {str(n): base[n * 800 : n * 800 + n] for n in range(MANY)},
        "one storage": {str(n): base for n in range(MANY)},
        "gradients": {str(n): torch.ones(n, requires_grad=True) for n in range(MANY)},
        "dtypes": {str(n): torch.ones(2).to(DTYPES[n % 2]) for n in range(MANY)},
        "a model": model.state_dict(),
        "a run": {"model": model.state_dict(), "optimizer": optimizer.state_dict()},
        "conjugates": {str(n): torch.ones(2, dtype=torch.complex64).conj() for n in range(MANY)},
        "parameters": list(model.parameters()),
        "nested": [[torch.ones(1), {"a": (torch.ones(2), n)}] for n in range(MANY)],
    }


STATES = states()


@pytest.mark.parametrize("name", STATES)
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_what_torch_writes(tmp_path, name, protocol):
    assert_same(pickled(tmp_path, STATES[name], pickle_protocol=protocol))


@pytest.mark.parametrize("name", ["shapes", "gradients", "dtypes", "a model", "a run"])
def test_most_tensors_are_read_at_once(tmp_path, name, followed):
    content = scan_pickle(io.BytesIO(pickled(tmp_path, STATES[name])))
    tensors = sum(1 for call in content.calls if str(call.function).endswith("tensor_v2"))
    assert sum(followed) > tensors * 2 / 3


@pytest.mark.parametrize("name", ["shapes"])
def test_what_has_changed(tmp_path, name):
    """Each change is read in both ways; most are no pickle any more."""
    data = pickled(tmp_path, STATES[name])
    rng = random.Random(0)
    begin = len(data) // 2
    for _ in range(200):
        changed = bytearray(data)
        for _ in range(rng.choice([1, 1, 2])):
            place = rng.randrange(begin, begin + 600)
            changed[place] = rng.choice([rng.randrange(256), *b"hrKMJt()R\x85\x86\x87\x88\x89"])
        if rng.random() < 0.2:
            del changed[rng.randrange(begin, begin + 600)]
        assert_same(bytes(changed))


def long_get(number):
    return b"j" + number.to_bytes(4, "little")


def test_numbers_of_the_memo_that_are_given_twice(tmp_path):
    """What one tensor keeps under a number, the next may take for another thing."""
    data = pickled(tmp_path, STATES["shapes"])
    first = pickle_fast_path._TENSOR.search(data)
    put = data.index(b"r", first.start()) + 1
    for number in (0, 2, 3, 255, 300, 2**32 - 1):
        changed = data[:put] + number.to_bytes(4, "little") + data[put + 4 :]
        assert_same(changed)
        assert_same(changed[:-2] + long_get(number) + changed[-2:])


def puts_of(found):
    """Return where a tensor's numbers of the memo stand."""
    return [found.start(group) for group in (6, 9, 12, 14, 17, 18, 19)]


def test_numbers_of_the_memo_that_were_asked_for_just_before(tmp_path):
    """A tensor that keeps its parts under the numbers that it goes by."""
    data = pickled(tmp_path, {str(n): torch.ones(2, 3) for n in range(MANY)})
    found = list(pickle_fast_path._TENSOR.finditer(data))[10]
    for first in range(20):
        changed = bytearray(data)
        for number, place in enumerate(puts_of(found), first):
            changed[place : place + 4] = number.to_bytes(4, "little")
        assert_same(bytes(changed))


def test_tuples_of_another_length_than_there_are_numbers(tmp_path):
    data = pickled(tmp_path, {str(n): torch.ones(2, 3) for n in range(MANY)})
    found = list(pickle_fast_path._TENSOR.finditer(data))[10]
    for group in (11, 13):
        for opcode in b"\x85\x87t":
            changed = bytearray(data)
            changed[found.end(group) - 1] = opcode
            assert_same(bytes(changed))


def test_another_function_by_the_number_of_torchs_own(tmp_path, followed):
    data = pickled(tmp_path, STATES["shapes"])
    other = data.replace(b"_rebuild_tensor_v2", b"_rebuild_tensor_v9")
    assert_same(other)
    assert not any(followed)


def test_all_is_one_loop_but_for_the_tensors():
    assert pickle_instructions.fast_path is pickle_fast_path.fast_path
    content = scan_pickle(io.BytesIO(pickle.dumps({"a": [1, 2.5, "x"]}, 2)))
    assert content.root == {"a": [1, 2.5, "x"]}
    assert not isinstance(content.root, OrderedDictNode)
