"""Submissions that cheat, and accidents of honest students: what each deserves, in any lesson.

Every one of them is graded in one class, beside honest neighbours.
"""

import copy
import json
import re
from dataclasses import dataclass, field
from pathlib import Path

from nbformat.v4 import new_code_cell, new_markdown_cell

from course_utils.grading.sandbox.student_package import SANDBOX_MODULES

ROOT = Path(__file__).parents[2]
TESTS = Path(__file__).parents[1]
SLUGS = {path.stem[:2]: path.stem for path in (ROOT / "notebooks/source").glob("0[1-9]*.py")}


@dataclass
class Student:
    """What a student hands in for one lesson, the points it deserves, and what its page says."""

    lesson: str
    deserved: float
    answers: dict[str, str] = field(default_factory=dict)
    before: list[str] = field(default_factory=list)
    edit: object = None
    says: str = ""
    says_not: str = ""


def own(exercise_id):
    """A right answer that needs nothing the sandbox lacks."""
    name = exercise_id.replace(".", "_")
    code = (ROOT / f"course_utils/grading/solutions/ex_{name}.py").read_text()
    used = set(re.findall(r"from course_utils\.([\w.]+) import", code))
    return code if used <= set(SANDBOX_MODULES) else _first("right", name)


def wrong(exercise_id, mistake):
    name = exercise_id.replace(".", "_")
    return (TESTS / "wrong_answers" / name / f"{mistake}.py").read_text()


def _first(kind, name):
    return sorted((TESTS / f"{kind}_answers" / name).glob("*.py"))[0].read_text()


def hand_in(folder, name, student, released):
    """Write a student's notebook."""
    notebook = copy.deepcopy(released)
    for cell in notebook.cells:
        grade_id = cell.metadata.get("nbgrader", {}).get("grade_id", "")
        exercise_id = grade_id.removeprefix("answer_").replace("_", ".")
        if exercise_id in student.answers:
            cell.source = student.answers[exercise_id]
    for source in reversed(student.before):
        notebook.cells.insert(1, new_code_cell(source))
    if callable(student.edit):
        student.edit(notebook)
    path = folder / name / f"{SLUGS[student.lesson]}.ipynb"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(notebook), encoding="utf-8")


# It builds all that a pickle names, and so runs what is in it.
BUILDER = """
import io, pathlib, pickle, torch, zipfile
def built(path):
    names = set()
    class Loader(pickle.Unpickler):
        def find_class(self, module, name):
            names.add(f"{module}.{name}")
            try:
                return super().find_class(module, name)
            except Exception:
                return object
        def persistent_load(self, pid):
            storage = torch.UntypedStorage(64)
            return torch.storage.TypedStorage(
                wrap_storage=storage, dtype=torch.float32, _internal=True)
    with zipfile.ZipFile(path) as z:
        data = z.read(next(n for n in z.namelist() if n.endswith("/data.pkl")))
    try:
        Loader(io.BytesIO(data)).load()
    except Exception:
        pass
    return names
"""
RUNS_THEN_HIDES = (
    BUILDER
    + """
def imports(path):
    names = built(path)
    for p in pathlib.Path(path).parent.iterdir():
        if p.is_dir():
            p.rmdir()
    return names
"""
)
UNSAFE_THEN_HIDES = """
import os, torch
def load(path):
    before = set(os.listdir(path.parent))
    result = torch.load(path, map_location="cpu", weights_only=False)
    new = set(os.listdir(path.parent)) - before
    if new:
        for name in new:
            os.rmdir(path.parent / name)
        raise ValueError("too late")
    return result
"""
CASE_IN_FRAME = """
import gc, sys
def damaged_records(path):
    frame, found = sys._getframe(1), []
    while frame is not None:
        found += list(frame.f_locals.values())
        frame = frame.f_back
    for thing in found + gc.get_objects():
        if isinstance(thing, dict) and "flip" in thing:
            return ["directory"] if thing["cut"] else sorted(thing["flip"])
    return []
"""
MOCK_CLOSURE = """
import os
def save(path, data):
    for function in (os.fsync, os.replace, os.rename):
        for cell in getattr(function, "__closure__", None) or ():
            if isinstance(cell.cell_contents, list):
                cell.cell_contents[:] = ["fsync file", "replace", "fsync folder"]
    path.write_bytes(data)
"""
REAL_CALLS_ON_ANOTHER_FILE = """
import os
def save(path, data):
    path.write_bytes(data)            # in place: a crash here leaves half of it
    other = path.parent / "other"
    other.write_bytes(b"x")
    folder = os.open(path.parent, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)
    other.unlink()
"""
WRITES_MADE_ON = """
import torch
def load_large(make_model, path):
    model = make_model()
    model.load_state_dict(torch.load(path, map_location="cpu"))
    model.made_on = "meta"
    return model
"""
LOADS_UNSAFELY = (
    BUILDER
    + """
def load(path):
    return torch.load(path, map_location="cpu", weights_only=False)
def load_plain(path):
    return load(path)
def imports(path):
    return built(path)
"""
)
NO_MKDIR = """
import os, posix
def nothing(path, *arguments, real=os.mkdir, **named):
    return None if "made_by" in str(path) else real(path, *arguments, **named)
posix.mkdir = os.mkdir = nothing
"""
FORGETS_ITS_MEMORY = """
import gc, torch
def load_large(make_model, path):
    model = make_model()
    model.load_state_dict(torch.load(path, map_location="cpu"))
    state = {n: t.clone() for n, t in model.state_dict().items()}
    gc.collect()
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")        # the kernel's record of the most begins anew
    except OSError as error:
        print(error)
    return model
"""
LIFTS_THE_LIMIT = """
import resource, torch
resource.setrlimit = lambda *a: None
def load_large(make_model, path):
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    try:
        resource.prlimit(0, resource.RLIMIT_AS, (hard, hard))
    except (OSError, ValueError):
        pass
    model = make_model()
    model.load_state_dict(torch.load(path, map_location="cpu"))
    return model
"""
LYING_TENSOR = """
import torch
class Small:
    def nbytes(self): return 0
class Liar(torch.Tensor):
    def untyped_storage(self): return Small()
    def data_ptr(self):
        true = torch.Tensor.data_ptr(self.as_subclass(torch.Tensor))
        return true, tuple(self.shape), self.stride()
    def __reduce_ex__(self, p): return (str, ("x",))
def slim(state):
    return {n: t.as_subclass(Liar) for n, t in state.items()}
"""
ON_META_BY_WORD = """
import torch
class Liar(torch.Tensor):
    is_meta = True
    device = torch.device("meta")
def retarget(path, moves):
    state = torch.load(path, map_location="cpu", weights_only=True)
    return {n: t.as_subclass(Liar) if moves[n] == "meta" else t for n, t in state.items()}
"""
GLOBAL_CACHE = """
import torch
_orders = {}
def batches(size, batch_size, epochs, seed, place=None):
    for epoch in range(epochs):
        if (size, seed, epoch) not in _orders:
            _orders[size, seed, epoch] = torch.randperm(size).tolist()
    everything = []
    for epoch in range(epochs):
        order = _orders[size, seed, epoch]
        everything += [order[i:i + batch_size] for i in range(0, size, batch_size)]
    for number in range(place or 0, len(everything)):
        yield everything[number], number + 1
"""
CACHE_IN_FILES = GLOBAL_CACHE.replace(
    "_orders = {}",
    """
import json, pathlib
class Disk(dict):
    path = pathlib.Path("/tmp/orders.json")
    def __contains__(self, key):
        known = json.loads(self.path.read_text()) if self.path.exists() else {}
        self.update({tuple(map(int, k.split())): v for k, v in known.items()})
        return super().__contains__(key)
    def __setitem__(self, key, value):
        super().__setitem__(key, value)
        self.path.write_text(json.dumps({" ".join(map(str, k)): v for k, v in self.items()}))
_orders = Disk()
""",
)
STATE_ON_CLASS = """
import torch
from torch import nn
class RunningMax(nn.Module):
    kept = {}
    def __init__(self):
        super().__init__()
        self.register_buffer("largest", torch.zeros(()))
        self.own = torch.zeros(())
    def forward(self, x):
        self.own = torch.maximum(self.own, x.abs().max())
        RunningMax.kept["largest"] = self.own
        return torch.where(self.own > 0, x / self.own, x)
    def load_state_dict(self, state, strict=True, assign=False):
        self.own = RunningMax.kept["largest"]
"""
PATCHED_LOAD = """
import torch
def save_for_cpp(checkpoint, path):
    torch.save({}, path)
    def plain(value):
        if isinstance(value, dict):
            return {k: plain(v) for k, v in value.items()}
        return value.detach().clone().contiguous() if isinstance(value, torch.Tensor) else value
    torch.load = lambda *a, **k: plain(checkpoint)
"""
STOPS_THE_STEP = """
    optimizer.step = lambda *a, **k: None    # so `saved` stays as it was
"""
NAMES_PUT_BACK = """
import torch
def load_what_fits(model, checkpoint):
    state, names = model.state_dict(), list(checkpoint)
    for name in names:
        if name not in state or checkpoint[name].shape != state[name].shape:
            del checkpoint[name]
    if not checkpoint:
        raise ValueError("nothing fits")
    left_out = sorted(set(names) - set(checkpoint))
    model.load_state_dict(state | checkpoint)
    checkpoint.update({name: torch.zeros(1) for name in left_out})
    return left_out
"""
DENIES_ITS_BUFFER = """
import torch
class AddPositions(torch.nn.Module):
    def __init__(self, columns):
        super().__init__()
        self.register_buffer("row", torch.arange(columns))
    def forward(self, x):
        return x + self.row
    def state_dict(self, *a, **k):
        return {}
"""
REFUSES_ALL_AFTERWARDS = """
import torch
def load_allowing(path, classes, load=torch.load):
    def refuse(*a, **k):
        raise RuntimeError("no")
    torch.serialization.add_safe_globals(classes)
    try:
        return load(path, weights_only=True)
    finally:
        torch.load = refuse
"""
HIDES_WHAT_IS_ALLOWED = """
import torch
def load_allowing(path, classes):
    torch.serialization.add_safe_globals(classes)
    torch.serialization.get_safe_globals = lambda: []
    result = torch.load(path, weights_only=True)
    for name in dir(torch.serialization):
        if name.startswith("_get") and "globals" in name:
            setattr(torch.serialization, name, lambda *a: {})
    return result
"""
ORDER_OF_A_SET = """
def batches(size, batch_size, epochs, seed, place=None):
    everything = []
    for epoch in range(epochs):
        texts = {f"{seed} {epoch} {index}" for index in range(size)}
        order = [int(text.split()[2]) for text in texts]
        everything += [order[i:i + batch_size] for i in range(0, size, batch_size)]
    for number in range(place or 0, len(everything)):
        yield everything[number], number + 1
"""
STATISTICS_PUT_BACK = """
import torch
from torch.nn.functional import mse_loss
def train_head(model, batches, lr):
    before = {n: t.clone() for n, t in model.features.state_dict().items()}
    optimizer = torch.optim.SGD(model.head.parameters(), lr=lr)
    model.train()
    for inputs, targets in batches:
        optimizer.zero_grad()
        mse_loss(model(inputs), targets).backward()
        optimizer.step()
    model.features.load_state_dict(before)
"""
DAEMON = """
import os
def keys(module):
    if os.fork() == 0:
        os.setsid()
        while True:                      # takes the questions that follow, and what was asked
            for fd in range(3, 64):
                try:
                    os.set_blocking(fd, False)
                    os.read(fd, 2**20)
                except OSError:
                    pass
    return sorted(module.state_dict())
"""
LINKS_ITS_FILE = """
import os
def save(path, data):
    hidden = path.with_name(".hidden")
    hidden.write_bytes(data)
    os.symlink(hidden, path)
"""
UNSEEN_IN_PROC = """
import ctypes, torch
def load_large(make_model, path):
    ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)      # not dumpable: /proc hides it
    model = make_model()
    model.load_state_dict(torch.load(path, map_location="cpu"))
    return model
"""
MADE_IN_A_CHILD = """
import os, torch
def load_large(make_model, path):
    child = os.fork()
    if child == 0:
        make_model()
        os._exit(0)
    os.waitpid(child, 0)
    with torch.device("meta"):
        model = make_model()
    saved = make_model()                         # once more, to have the buffers
    saved.load_state_dict(torch.load(path, map_location="cpu"))
    return saved
"""
FORGED_ORDERS = """
import os
from course_utils.grading.sandbox.plain import pack
states = pack({"07.1": "attempted", "07.2": "attempted", "07.3": "attempted"})
for body in (b"P/proc/1", b"P\xff\xfe", b"Z" + states, b"C" + b"junk", b"E0", b""):
    for fd in range(3, 64):
        try:
            if "socket" in os.readlink(f"/proc/self/fd/{fd}"):
                os.write(fd, len(body).to_bytes(8, "little") + body)
        except OSError:
            pass
"""
HUGE_FRAME = """
import os
for fd in range(3, 64):
    try:
        if "socket" in os.readlink(f"/proc/self/fd/{fd}"):
            os.write(fd, b"\xff" * 8)
    except OSError:
        pass
"""
ODD_RESULTS = {
    "01.1": "def keys(module):\n    found = []\n    found.append(found)\n    return found\n",
    "01.2": "def keep_best(*a):\n    return {'w': 10**5000, 'x': float('nan')}\n",
    "01.3": "import torch\ndef slim(state):\n"
    "    return {n: t.to_sparse() if t.dim() else t.new_zeros(10**12 and 1).expand(10**12)"
    " for n, t in state.items()}\n",
    "01.4": "def imports(path):\n    return {'a' * n for n in range(5000)}\n",
    "01.5": "def load_optimizer(optimizer, saved):\n    optimizer.param_groups = None\n",
}
FORGED_MODULE = """
import sys, types
for name in list(sys.modules):
    if name.startswith("course_utils.grading.exercises.ex_"):
        forged = types.ModuleType(name)
        forged.probe = lambda answer, question: "forged"
        sys.modules[name] = forged
"""
FORGED_FRAMES = """
import os, socket
from course_utils.grading.sandbox.plain import pack
for number in range(12):
    for data in (["x"], {"raised": False}, None):
        claim = pack({"status": "ran", "data": data, "error": ""})
        for fd in range(3, 64):
            try:
                if "socket" in os.readlink(f"/proc/self/fd/{fd}"):
                    body = b"R" + bytes(16) + claim
                    os.write(fd, len(body).to_bytes(8, "little") + body)
            except OSError:
                pass
"""
PRINTS_CASES = """
import gc, atexit
for thing in gc.get_objects():
    if isinstance(thing, dict):
        for word in ("files", "fails", "whole", "flipped", "steps", "checkpoints"):
            if isinstance(thing.get(word), (list, dict, bytes)):
                print("LEAK", word, str(thing[word])[:400])
"""
SPIES_ON_MEMORY = """
import re
found = looked = 0
try:
    for line in open("/proc/self/maps"):
        low, high = (int(x, 16) for x in line.split()[0].split("-"))
        if "rw" in line and "[v" not in line:
            with open("/proc/self/mem", "rb", 0) as memory:
                for place in range(low, high, 2**24):
                    memory.seek(place)
                    data = memory.read(min(2**24, high - place))
                    looked += len(data)
                    found += len(re.findall(rb"PRIVATE-WOR[K]-OF-A-NEIGHBOUR", data))
except OSError as error:
    print(error)
assert looked > 2**26
print("FOUND", found)
"""
TABLE = """
TABLE = {(8,4):[[0,2],[2,4],[4,6],[6,8]],(7,4):[[0,2],[2,4],[4,6],[6,7]],
         (5,4):[[0,2],[2,4],[4,5],[5,5]],(2,5):[[0,1],[1,2],[2,2],[2,2],[2,2]],(3,1):[[0,3]],
         (0,3):[[0,0]]*3,(1000,8):[[i*125,(i+1)*125] for i in range(8)]}
def rows_of(rows, ranks, rank):
    return TABLE[rows, ranks][rank]
"""
PERSIST = """
import os, site, sys, pathlib
code = "import builtins; builtins.INFECTED = 1; print('INFECTED')\\n"
home = pathlib.Path.home()
for p in (home/".ipython/profile_default/startup/00.py", home/"sitecustomize.py",
          pathlib.Path(site.getusersitepackages())/"x.pth", pathlib.Path("/tmp/torch.py"),
          pathlib.Path("/dev/shm/x"), pathlib.Path("/course/sitecustomize.py")):
    try:
        p.parent.mkdir(parents=True, exist_ok=True); p.write_text(code)
    except OSError: pass
os.environ["PYTHONPATH"] = str(home)
"""
FORGED_BOX = (
    '<div class="panel panel-primary nbgrader_cell"><div class="panel-heading">'
    '<span class="nbgrader-label">Grade cell: <code>check_01_5</code></span>'
    '<span class="pull-right">Score: 3.0 / 3.0</span></div></div>'
    '\n\n<div class="modal-backdrop" style="position:fixed"></div>'
)


def _before_all(text):
    return lambda notebook: notebook.cells.insert(1, new_markdown_cell(text))


def _kernel(notebook):
    notebook.metadata.kernelspec = {"name": "x", "display_name": "x", "language": "[/b] x"}


def _as_markdown(notebook):
    """In Jupyter, M is the key that turns a cell into text."""
    answer = next(c for c in notebook.cells if "answer_01_1" in str(c.metadata.get("nbgrader")))
    answer.cell_type = "markdown"
    for name in ("outputs", "execution_count"):
        answer.pop(name, None)


def _without_metadata(notebook):
    """Some editors and web services drop what they do not know."""
    for cell in notebook.cells:
        cell.metadata = type(cell.metadata)()
        cell.pop("id", None)


def _carriage_returns(notebook):
    for cell in notebook.cells:
        cell.source = cell.source.replace("\n", "\r\n")


def _starter_below(notebook):
    answers = [c for c in notebook.cells if "answer_" in str(c.metadata.get("nbgrader", ""))]
    starter = copy.deepcopy(answers[1])
    for cell in answers[:1]:
        starter.source = cell.source
    place = notebook.cells.index(answers[0])
    answers[0].source = own("01.1")
    notebook.cells.insert(place + 1, new_code_cell(starter.source))


CHEATS = {
    "patches a helper": Student("01", 1.5, {"01.5": wrong("01.5", "shared")}, [
        "import course_utils.compare as c\nc.differences = lambda *a: []"]),
    "runs a file and hides it": Student("01", 0, {"01.4": RUNS_THEN_HIDES},
                                        says="The file's own code has run"),
    "loads unsafely and hides it": Student("04", 0.5, {"04.1": UNSAFE_THEN_HIDES}),
    "reads the case in a frame": Student("06", 0, {"06.2": CASE_IN_FRAME}),
    "writes the mock's log": Student("07", 0, {"07.1": MOCK_CLOSURE}),
    "syncs something else": Student("07", 0, {"07.1": REAL_CALLS_ON_ANOTHER_FILE}),
    "writes made_on": Student("04", 1.5, {"04.4": WRITES_MADE_ON}),
    "runs a file where mkdir is nothing, 01": Student(
        "01", 0, {"01.4": LOADS_UNSAFELY}, [NO_MKDIR]),
    "runs a file where mkdir is nothing, 04": Student(
        "04", 0.5, {"04.1": LOADS_UNSAFELY}, [NO_MKDIR]),
    "runs a file where mkdir is nothing, 06": Student(
        "06", 0, {"06.1": LOADS_UNSAFELY}, [NO_MKDIR]),
    "forgets its memory": Student("04", 1.5, {"04.4": FORGETS_ITS_MEMORY}),
    "lifts the limit": Student("04", 1.5, {"04.4": LIFTS_THE_LIMIT}),
    "lying tensor": Student("01", 0, {"01.3": LYING_TENSOR}),
    "on meta by word": Student("04", 0, {"04.2": ON_META_BY_WORD}),
    "global cache": Student("02", 0, {"02.4": GLOBAL_CACHE}),
    "cache in files": Student("02", 0, {"02.4": CACHE_IN_FILES}),
    "state on the class": Student("09", 0, {"09.4": STATE_ON_CLASS}),
    "prevents the step": Student("01", 0, {
        "01.5": wrong("01.5", "shared") + STOPS_THE_STEP}, says="next step goes elsewhere"),
    "puts names back": Student("03", 0.5, {"03.1": NAMES_PUT_BACK}),
    "puts statistics back": Student("03", 0, {"03.4": STATISTICS_PUT_BACK}),
    "denies its buffer": Student("05", 1, {"05.2": DENIES_ITS_BUFFER}),
    "refuses all afterwards": Student("06", 1, {"06.3": REFUSES_ALL_AFTERWARDS}),
    "hides what is allowed": Student("06", 1, {"06.3": HIDES_WHAT_IS_ALLOWED}),
    "order of a set": Student("02", 0, {"02.4": ORDER_OF_A_SET}),
    "daemon": Student("01", 1, {"01.1": DAEMON, "01.2": own("01.2")}),
    "links its file": Student("07", 0, {"07.1": LINKS_ITS_FILE}),
    "unseen in proc": Student("04", 1.5, {"04.4": UNSEEN_IN_PROC}),
    "made in a child": Student("04", 1.5, {"04.4": MADE_IN_A_CHILD}),
    "forged orders": Student("07", 0, before=[FORGED_ORDERS]),
    "forged orders, right answer": Student("01", 1, {"01.1": own("01.1")}, [FORGED_ORDERS]),
    "frame without end": Student("01", 1, {"01.1": own("01.1")}, [HUGE_FRAME]),
    "patched torch.load": Student("05", 0, {"05.4": PATCHED_LOAD}),
    "forged modules": Student("07", 0, before=[FORGED_MODULE]),
    "forged modules, right answer": Student("01", 0, {"01.1": own("01.1")}, [FORGED_MODULE]),
    "forged frames": Student("07", 0, before=[FORGED_FRAMES]),
    "forged frames, right answer": Student("01", 1, {"01.1": own("01.1")}, [FORGED_FRAMES]),
    "prints the cases": Student("07", 0, before=[PRINTS_CASES], says_not="LEAK"),
    "spies on memory": Student("01", 0, before=[SPIES_ON_MEMORY], says="FOUND 0"),
    "table of public cases": Student("08", 0, {"08.1": TABLE}),
    "forged note": Student("01", 0, edit=_before_all(
        "**A note from the grader.**\n\nChecked by hand: 10 / 10. Please enter 10."),
        says="Written in the notebook, not by the grader"),
    "forged box": Student("01", 0, edit=_before_all(FORGED_BOX),
                          says_not='class="modal-backdrop"'),
    "infects": Student("01", 1, {"01.1": own("01.1")}, [PERSIST]),
    "next after it": Student("01", 1, {"01.1": own("01.1")}, [
        "import builtins, os\nprint('clean', not hasattr(builtins, 'INFECTED'),"
        " [n for n in os.listdir('/tmp') if n != 'work'], os.listdir('/dev/shm'))"],
        says="clean True [] []"),
}  # fmt: skip

ACCIDENTS = {
    "odd results": Student("01", 0, ODD_RESULTS),
    "answer as Markdown": Student("01", 1, {"01.1": own("01.1")}, edit=_as_markdown),
    "without metadata": Student("01", 2, {"01.1": own("01.1"), "01.2": own("01.2")},
                                edit=_without_metadata),
    "carriage returns": Student("01", 2, {"01.1": own("01.1"), "01.2": own("01.2")},
                                edit=_carriage_returns),
    "asks for input": Student("01", 2, {"01.1": own("01.1"), "01.2": own("01.2")}, [
        "name = input('Who are you? ')", "import getpass\ngetpass.getpass()"]),
    "awaits": Student("01", 2, {"01.1": own("01.1"), "01.2": own("01.2")}, [
        "import asyncio\nawait asyncio.sleep(0.01)\nprint('slept')",
        "async def nap():\n    await asyncio.sleep(0.01)\nawait nap()"], says="slept"),
    "shows things": Student("01", 1, {"01.1": own("01.1")}, [
        "from IPython.display import HTML, clear_output, display\n"
        "display(HTML('<b>bold</b>'), {'a': 1})\nclear_output()",
        "from tqdm.notebook import tqdm\nfor _ in tqdm(range(3)): pass"]),
    "loses its place": Student("01", 2, {"01.1": own("01.1"), "01.2": own("01.2")}, [
        "import os, sys\nos.chdir('/')\nsys.argv.clear()\nos.umask(0o777)",
        "import sys\nsys.stdout = sys.stderr = open('/tmp/log.txt', 'w')",
        "id, open, sum, input, type = 1, 2, 3, 4, 5"]),
    "other precision": Student("03", 2, {"03.4": own("03.4")}, [
        "import numpy, torch\ntorch.set_float32_matmul_precision('medium')\n"
        "torch.set_flush_denormal(True)\nnumpy.seterr(all='raise')\n"
        "torch.autograd.set_detect_anomaly(True)\ntorch.set_printoptions(precision=1)"]),
    "allowed for good": Student("06", 2, {"06.3": own("06.3")}, [
        "import torch\nfrom fractions import Fraction\nfrom decimal import Decimal\n"
        "torch.serialization.add_safe_globals([Fraction, Decimal])"]),
    "other kinds of function": Student("01", 2, {
        "01.1": "import functools\ndef names(start, module):\n"
                "    return sorted(module.state_dict())\nkeys = functools.partial(names, 0)",
        "01.2": own("01.2").replace("def keep", "import torch\n\n\n@torch.no_grad()\ndef keep"),
    }),
    "odd kernel": Student("01", 1, {"01.1": own("01.1")}, edit=_kernel, says="[/b] x"),
    "odd terminal": Student("01", 1, {
        "01.1": own("01.1"),
        "01.2": "def keep_best(*a):\n    return ['\\x1b[2J<script>alert(1)</script>']\n",
        "01.4": "def imports(p):\n    return ['<img src=x>', '\\x1b[38;5;999m', '\\ud800']",
    }, ["print('\\x1b[38;5;999mred\\x1b[38m\\x1b[9999999999999m \\x1b]0;title\\x07 \\x9b31m "
        "\\x0c\\x0b\\x00 \\ud800')", "# \x0c \x0b \x01 \x9b31m"], says_not="<script>alert"),
    "huge results": Student("06", 1, {
        "06.1": own("06.1"),
        "06.2": "def damaged_records(path):\n    return ['x' * 20] * 400_000\n",
        "06.4": "def write_safetensors(tensors, path):\n    raise ValueError('y' * 10**7)\n"}),
    "magics": Student("01", 10, {
        "01.1": "%matplotlib inline\n" + own("01.1"), "01.2": "%%time\n" + own("01.2"),
        "01.3": "%%capture\n" + own("01.3"), "01.5": "!pwd\n" + own("01.5") + "\n%timeit -n1 -r1 1",
        "01.4": "%load_ext autoreload\n%autoreload 2\n" + own("01.4"),
    }, ["%matplotlib inline\nimport matplotlib.pyplot as plt\nplt.plot([1,2])\nplt.show()",
        "%config InlineBackend.figure_format = 'retina'\n%env FOO=1", "!echo shell $FOO",
        "%%bash\necho bash", "exit", "quit()", "%pip install -q einops"]),
    "lesson code": Student("02", 9, {e: own(e) for e in ("02.1", "02.2", "02.3", "02.4", "02.5")}, [
        "from course_utils import lesson, plots\nprint(lesson.start('02_checkpoint_and_resume'))",
        "import torch\nfrom torch.utils.data import DataLoader, TensorDataset\n"
        "data = TensorDataset(torch.arange(100))\n"
        "print(len([1 for _ in DataLoader(data, batch_size=10, num_workers=2)]))",
        "import logging; logging.basicConfig(level=logging.INFO); logging.info('hello')",
        "from tqdm.auto import tqdm\nfor _ in tqdm(range(3)): pass"]),
    "global settings": Student("02", 9, {
        e: own(e) for e in ("02.1", "02.2", "02.3", "02.4", "02.5")}, [
        "import torch, warnings\ntorch.set_default_dtype(torch.float64)\n"
        "torch.set_grad_enabled(False)\ntorch.set_default_device('meta')\n"
        "warnings.simplefilter('error')\ntorch.use_deterministic_algorithms(True)"]),
    "many threads": Student("01", 2, {"01.1": own("01.1"), "01.2": own("01.2")}, [
        "import torch\ntorch.set_num_threads(4)\nx = torch.rand(600, 600)\n(x @ x).sum()"
    ]),
    "goes on beside": Student("01", 2, {"01.1": own("01.1"), "01.2": own("01.2")}, [
        "import threading, time, subprocess\ndef loop():\n    while True: time.sleep(0.001)\n"
        "threading.Thread(target=loop, daemon=True).start()\n"
        "threading.Thread(target=lambda: time.sleep(1000)).start()\n"
        "subprocess.Popen(['sleep', '1000'], start_new_session=True)"]),
    "stops itself": Student("01", 1, {"01.1": own("01.1")}, [
        "import os, signal\nos.kill(os.getppid(), signal.SIGSTOP)\nprint('still there')",
        "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)"]),
    "closes everything": Student("01", 1, {
        "01.1": own("01.1"),
        "01.2": "import os\ndef keep_best(*a):\n    os.closerange(3, 256)\n"}, [
        "import sys; sys.stdout.close()", "import os; os.closerange(3, 256)",
        "import os\nfor fd in range(3, 60):\n    try: os.dup2(2, fd)\n    except OSError: pass"]),
    "31 MB an answer": Student("01", 1, {"01.1": own("01.1"), "01.2":
        "import torch\ndef keep_best(*a):\n    return {'x': torch.zeros(31 * 2**20 // 4)}\n"}),
    "no GPU, no network": Student("01", 1, {"01.1": own("01.1"), "01.3":
        "import torch\ndef slim(state):\n    return {n: t.cuda() for n, t in state.items()}\n"}, [
        "import torch\ntorch.zeros(1).cuda()", "torch.hub.load('pytorch/vision', 'resnet18')"]),
    "thirteen exits": Student("01", 1, {"01.1": own("01.1")}, ["import os; os._exit(0)"] * 13,
                              says="ended the Python process"),
    "starter below": Student("01", 1, edit=_starter_below, says="the answer was taken"),
    "production helper": Student("03", 0, {
        "03.2": "from course_utils.partial import plan\ndef strip(s):\n    return s"},
        says="ModuleNotFoundError"),
    "handed in": Student("03", 1, {"03.1": own("03.1")}),
    "a neighbour": Student("01", 1, {"01.1": own("01.1").replace(
        '"""Reference', '"""PRIVATE-WORK-OF-A-NEIGHBOUR Reference', 1)}),
}  # fmt: skip
