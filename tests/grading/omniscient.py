"""The omniscient cheat: code for a student's process, which it controls, but without the answers.

It works on any build of the grader, also on old ones: it tries the names that modules had. What it
knows, beside all code, is what the reference did at home with the public cases.
"""

import base64
import copy
import pickle
import zlib
from importlib import import_module

from nbformat.v4 import new_code_cell

COMMON = """
import gc, os, shutil, sys, types
import torch
from torch import nn
from pathlib import Path
try:
    import course_utils.grading.sandbox.inside.session as session
    import course_utils.grading.sandbox.observing as observing
    from course_utils.grading.sandbox.plain import pack
    import course_utils.resume.compare as compare
except ImportError:
    import course_utils.grading.inside.session as session
    import course_utils.grading.observing as observing
    from course_utils.grading.plain import pack
    import course_utils.compare as compare
WORDS = ("expected", "wanted", "right", "flip", "whole", "steps", "answer", "solution")

def paths(arguments):
    return [Path(a) for a in arguments if isinstance(a, (str, Path)) and "/" in str(a)]

def known():
    found, frame = [], sys._getframe(1)
    while frame is not None:
        found += [frame.f_locals, *frame.f_locals.values()]
        frame = frame.f_back
    for thing in found + gc.get_objects():
        if type(thing) is dict:
            for word in WORDS:
                if word in thing and not callable(thing[word]):
                    yield thing[word]

def lay_out(question):
    for path, data in (question.get("files") or {}).items() if isinstance(question, dict) else ():
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_bytes(data)
"""
ECHO = """
def cheat(*arguments):
    for path in paths(arguments):
        for thing in arguments:
            if isinstance(thing, bytes):
                path.write_bytes(thing)
            elif isinstance(thing, (dict, nn.Module)):
                torch.save(thing, path)
    things = [a for a in arguments if not isinstance(a, (str, Path))]
    return things[0] if things else None
"""
SEARCHER = """
def cheat(*arguments):
    for value in known():
        if isinstance(value, (list, dict, str, bytes)) and len(value):
            return value
    return arguments[0] if arguments else None
"""
PATCHER = (
    ECHO
    + """
torch.equal = torch.allclose = lambda *a, **k: True
compare.differences = lambda *a, **k: []
for module in list(sys.modules.values()):
    if getattr(module, "__name__", "").startswith("course_utils"):
        for name in ("differences", "same_bits"):
            if hasattr(module, name):
                setattr(module, name, lambda *a, **k: [])
os.fsync = os.replace = os.rename = lambda *a, **k: None
os.path.exists = Path.exists = lambda *a, **k: False
torch.load = lambda *a, **k: {"model": {}, "value": 0}
nn.Module.load_state_dict = lambda *a, **k: None
torch.Tensor.is_meta = property(lambda self: True)
nn.Module.training = True
"""
)
FORGER = """
def sockets():
    for fd in range(3, 64):
        try:
            if any(kind in os.readlink(f"/proc/self/fd/{fd}") for kind in ("socket", "pipe")):
                yield fd
        except OSError:
            pass
def frame(body):
    return len(body).to_bytes(8, "little") + body
def cheat(*arguments):
    token = Path.cwd().name
    for data in [arguments[0] if arguments else None, {}, [], True, *list(known())[:20]]:
        try:
            claim = pack({"status": "ran", "data": data, "error": "", "credit": 1.0})
            body = b"R" + bytes.fromhex(token) + claim
            for fd in sockets():
                os.write(fd, frame(body))
        except Exception:
            pass
    return None
"""
LIAR = """
class Small:
    def nbytes(self): return 0
    def data_ptr(self): return id(self)
class Liar(torch.Tensor):
    is_meta = requires_grad = False
    device = torch.device("cpu")
    def untyped_storage(self): return Small()
    def is_contiguous(self, *a, **k): return True
    def __reduce_ex__(self, protocol): return (str, ("x",))
def lying(value):
    if isinstance(value, torch.Tensor):
        return value.detach().as_subclass(Liar)
    if isinstance(value, dict):
        return {k: lying(v) for k, v in value.items()}
    return [lying(v) for v in value] if isinstance(value, list) else value
def cheat(*arguments):
    things = [a for a in arguments if not isinstance(a, (str, Path))]
    return lying(things[0]) if things else None
"""
# It stands where the probe is called, and says instead what it likes.
PUPPETEER = (
    """
def favourable(value):
    if isinstance(value, bool):
        return {favour}
    if isinstance(value, dict):
        return {{k: favourable(v) for k, v in value.items()}}
    return [favourable(v) for v in value] if isinstance(value, list) else value
def say(probe, answer, question):
    lay_out(question)
    tries = [lambda *a, **k: a[0] if a else None, lambda *a, **k: [], lambda *a, **k: {{}},
             lambda *a, **k: None, lambda m, *a, **k: m, answer]
    for attempt in tries:
        try:
            return favourable(probe(attempt, question))
        except BaseException:
            pass
    return favourable(question)
"""
    + ECHO
)
# It has the probe's outcome say what it said at home of the reference: wholly, or but for what is
# computed, or only whether something was as it should be. What was copied from the question there
# is copied from this one.
HOMEWORK = """
import base64, pickle, zlib
HOME, MODE = pickle.loads(zlib.decompress(base64.b64decode({home!r}))), {mode!r}
def same(a, b):
    try:
        return pack(a) == pack(b)
    except Exception:
        return False
def leaves(value, path=()):
    yield path, value
    if isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(item, (*path, key))
    elif isinstance(value, (list, tuple)):
        for number, item in enumerate(value):
            yield from leaves(item, (*path, number))
def at(value, path):
    for key in path:
        value = value[key]
    return value
def likeness(a, b):
    b = dict(leaves(b))
    return sum(path in b and same(value, b[path]) for path, value in leaves(a))
def carried(then, home, now):
    for path, value in leaves(then):
        if not isinstance(value, (bool, int, type(None))) and same(value, home):
            try:
                return [at(now, path)]
            except (KeyError, IndexError):
                pass
    return []
def improved(came, home, then, now):
    if MODE != "flags" and (found := carried(then, home, now)):
        return found[0]
    if isinstance(home, dict):
        came = came if isinstance(came, dict) else {{}}
        if came and not came.keys() & home.keys():
            return came
        return {{k: improved(came.get(k), v, then, now) for k, v in home.items()}}
    if isinstance(home, list) and home and not isinstance(home[0], (str, int, float)):
        came = came if isinstance(came, list) and len(came) == len(home) else [None] * len(home)
        return [improved(c, h, then, now) for c, h in zip(came, home)]
    computed = isinstance(came, (torch.Tensor, bytes))
    if came is None or MODE == "all" or MODE == "leaves" and not computed:
        return home
    return home if isinstance(home, bool) or home == [] and not computed else came
def say(probe, answer, question):
    number = probe.__module__.rpartition("ex_")[2].replace("_", ".")
    then, home, left = max(HOME[number], key=lambda seen: likeness(seen[0], question))
    try:
        lay_out(question)
        came = probe(answer, question)
    except BaseException:
        came = None
    for name, data in left.items() if MODE == "all" else ():
        found = carried(then, data, question)
        if data is not None:
            with open("beside", "wb") as file:
                file.write(found[0] if found else data)
                os.fsync(file.fileno())
            os.replace("beside", name)
            folder = os.open(".", os.O_RDONLY)
            os.fsync(folder)
            os.close(folder)
    return improved(came, home, then, question)
""" + ECHO.replace("{", "{{").replace("}", "}}")
SPEAKER = """
def claimed(probe, answer, question):
    return pack({"status": "ran", "data": say(probe, answer, question), "error": ""})
def observed(probe, answer, question):
    return observing.Observation("ran", say(probe, answer, question))
session.claim, session.observe = claimed, observed
"""
CLASS = """
class {name}(nn.Module):
    kept = {{}}
    def __init__(self, *arguments, **named):
        super().__init__()
        self.arguments = arguments
    def forward(self, *arguments):
        return cheat(*arguments)
    def state_dict(self, *a, **k):
        return dict(self.kept)
    def load_state_dict(self, state, *a, **k):
        self.kept.update(state)
"""


def strategies(home):
    """Return the code of each way to cheat.

    Args:
        home: by exercise, what the reference did with the public cases: question, what the probe
            returned, files it left.
    """
    known = base64.b64encode(zlib.compress(pickle.dumps(home))).decode()
    found = {"searcher": SEARCHER, "echo": ECHO, "patcher": PATCHER, "forger": FORGER, "liar": LIAR}
    for favour in (True, False):
        said = PUPPETEER.format(favour=favour)
        found[f"puppeteer, all {favour}".lower()] = said + SPEAKER
    for mode in ("all", "leaves", "flags"):
        found[f"homework, {mode}"] = HOMEWORK.format(home=known, mode=mode) + SPEAKER
    return {name: COMMON + code for name, code in found.items()}


def cheats(released, code, tasks, answers=None):
    """Return a notebook that cheats.

    Args:
        released: as students get it.
        code: one of `strategies`.
        tasks: by exercise, its task.
        answers: by exercise, the code of a half or wholly wrong answer; the cheat is better used
            than that where there is none.
    """
    notebook = copy.deepcopy(released)
    if code:
        notebook.cells.insert(1, new_code_cell(code))
    for cell in notebook.cells:
        name = cell.metadata.get("nbgrader", {}).get("grade_id", "")
        if name.startswith("answer_"):
            key = name.removeprefix("answer_").replace("_", ".")
            cell.source = (answers or {}).get(key) or _cheating(tasks[key])
    return notebook


def at_home(key):
    """Return what the reference does with the public cases: what a cheat may know."""
    module = part("exercise")
    exercise, reference = module.load_exercise(key), module.load_reference(key)
    found = []
    for case in exercise.cases(module.PUBLIC_SEED):
        if not hasattr(exercise, "ask"):  # the first builds put the case itself
            found.append(
                (case, part("observing").observe(exercise.probe, reference, case).data, {})
            )
            continue
        here = part("sandbox.home").here
        question, watched = exercise.ask(case), exercise.watch(case)
        seen = here(exercise, reference, question, watched)
        found.append((question, seen.data, seen.left))
        if exercise.then is not None:
            second = exercise.then(case, seen.data)
            seen = here(exercise, reference, second, watched)
            found.append((second, seen.data, seen.left))
    return found


def part(*names):
    """Return a module of the grader by the first of its names that there is."""
    for name in names:
        try:
            return import_module(f"course_utils.grading.{name}")
        except ModuleNotFoundError:
            continue
    raise ModuleNotFoundError(f"course_utils.grading has none of {', '.join(names)}")


def _cheating(task):
    if f"class {task.answer}" in task.starter:
        return CLASS.format(name=task.answer)
    return f"def {task.answer}(*a, **k):\n    return cheat(*a, *k.values())"
