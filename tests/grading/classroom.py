"""A class of students for the grading tests: honest, careless and hostile ones."""

import copy
import json
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_raw_cell

SLUG = "01_state_dict_anatomy"
MARK = "PRIVATE-WORK-OF-AN-HONEST-STUDENT"

KEYS = f"def keys(module):\n    '{MARK}'\n    return sorted(module.state_dict())"
BEST = """import copy

def keep_best(model, train_step, evaluate, steps):
    best, highest = None, float("-inf")
    for _ in range(steps):
        train_step()
        accuracy = evaluate()
        if accuracy > highest:
            highest, best = accuracy, copy.deepcopy(model.state_dict())
    return best
"""
WRONG_KEYS = "def keys(module):\n    return sorted(n for n, _ in module.named_parameters())"
WRONG_BEST = BEST.replace("copy.deepcopy(model.state_dict())", "model.state_dict(); _ = 1")


@dataclass
class Student:
    """What a student hands in, what it earns, and what the feedback must say.

    ``before`` runs ahead of the answers; ``file`` stands in place of the notebook.
    """

    score: float
    says: str = ""
    keys: str | None = KEYS
    best: str | None = BEST
    before: list[str] = field(default_factory=list)
    edit: object = None
    file: object = None


def attack(cell, says, score=2.0):
    """A student with honest answers and a hostile cell before them."""
    return Student(score, says, before=[cell])


def fake(code, says, best=BEST):
    """A student with a hostile first answer, whose second one is honest."""
    return Student(1.0, says, keys=code, best=best)


LIAR = """
class Liar(list):
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    __hash__ = None
def keys(module):
    return Liar(["lie"])
"""
PATCH = """
import builtins, json, torch, safetensors.torch, course_utils.compare as compare
torch.equal = torch.allclose = lambda *a, **k: True
compare.differences = lambda *a: []
json.dumps = lambda *a, **k: '["list", []]'
safetensors.torch.save = lambda *a, **k: b''
builtins.sorted = lambda x: []
import course_utils.grading.sandbox.observing as o, course_utils.grading.exercise as e
o.is_untouched = lambda *a: False
e.Verdict.credit = 1.0
def keys(module):
    return []
"""
FORGE_FILES = """
import os
for place in (".", "/tmp", "/tmp/work", os.path.expanduser("~")):
    for name in ("results.json", "grade.json", "check_01_1", "result.safetensors", "01.1.json"):
        try:
            open(os.path.join(place, name), "w").write('{"credit": 1.0, "status": "correct"}')
        except OSError:
            pass
def keys(module):
    print("01.1: correct")
    print({"check_01_1": 1.0})
    return "01.1: correct"
"""
READ_REFERENCE = """
def keys(module):
    from course_utils.grading.solutions.ex_01_1 import keys as reference
    return reference(module)
"""
SEARCH_MEMORY = """
def keys(module):
    import gc
    for thing in gc.get_objects():
        if isinstance(thing, dict) and ("expected" in thing or "judge" in thing):
            value = thing.get("expected")
            if isinstance(value, list) and value and isinstance(value[0], str):
                return value
    return []
"""
SCRIPT = (
    "harmless <script>alert('m')</script> <img src=x onerror=alert(2)> "
    "[link](javascript:alert(3)) <a href='javascript:alert(4)'>x</a>"
)
PICKLE = """
class Payload:
    def __reduce__(self):
        return (open, ({marker!r}, "w"))
def keys(module):
    return [Payload()]
"""


def hostile(secret: Path, port: int) -> dict[str, Student]:
    """The attackers by name. ``secret`` is a file they must neither read nor change."""
    course = secret.parent
    read = f"print(open({str(secret)!r}).read())"
    return {
        "forged equality": fake(LIAR, "saved too, but is not in your list"),
        "patched comparisons": Student(0.0, "01.1: ", keys=PATCH, best=None),
        "printed results": fake(
            "def keys(module):\n    print('01.1: correct 1.0')\n    return ['x']", "01.1: wrong"),
        "forged files": fake(FORGE_FILES, "01.1: wrong"),
        "reads the reference": fake(READ_REFERENCE, "ModuleNotFoundError"),
        "searches the memory": fake(SEARCH_MEMORY, "01.1: wrong"),
        "malicious pickle": fake(PICKLE.format(marker=str(course / "pwned")),
                                 "which is not plain data"),
        "answer never ends": fake(
            "def keys(module):\n    while True: pass", "longer than 3 seconds"),
        "answer exits": fake("import os\ndef keys(module):\n    os._exit(0)", "ended the Python"),
        "answer raises SystemExit": fake(
            "def keys(module):\n    raise SystemExit(0)", "SystemExit"),
        "sys.exit": attack("import sys; sys.exit(0)", "SystemExit"),
        "os._exit": attack("import os; os._exit(0)", "ended the Python process"),
        "segfault": attack("import ctypes; ctypes.string_at(0)", "ended the Python process"),
        "endless loop": attack("while True: pass", "longer than 3 seconds"),
        "deep recursion": attack("def f(): return f()\nf()", "RecursionError"),
        "fork bomb": attack("import os\nwhile True: os.fork()", "more than 20 processes"),
        "memory hog": attack("x = [bytearray(10**8) for _ in range(100)]", "MemoryError"),
        "endless output": attack("while True: print('x' * 10**4)", "longer than 3 seconds"),
        "10 GB file": attack("with open('big', 'wb') as f:\n    for _ in range(100):\n"
                             "        f.write(bytes(10**8))", "File too large"),
        "reads the gradebook": attack(read, "FileNotFoundError"),
        "lists the course": attack(f"import os; print(os.listdir({str(course)!r}))",
                                   "FileNotFoundError"),
        "uses the network": attack(
            f"import socket; socket.create_connection(('127.0.0.1', {port}), 2)", "Error"),
        "writes outside": attack(f"open({str(course / 'pwned')!r}, 'w')", "Error"),
        "kills its parents": attack(
            "import os, signal\nfor p in (os.getppid(), 1):\n    os.kill(p, signal.SIGKILL)\n"
            "print('still here')", "still here"),
        "script in the page": attack("from IPython.display import HTML, display\n"
                                     "display(HTML('<script>alert(1)</script>'))", "IPython"),
    }  # fmt: skip


def careless(elsewhere: Path) -> dict[str, Student]:
    """Accidents by name, and tampering with the notebook itself."""
    other_kernel = {"name": "ir", "display_name": "R", "language": "R"}
    return {
        "edited check": Student(2.0, edit=_set_check("check('01.1', lambda m: 1)")),
        "check replaced by a result": Student(1.0, "01.2: wrong", best=WRONG_BEST,
                                              edit=_set_check("print('correct')\n1000.0")),
        "deleted checks": Student(2.0, "missing is put back",
                                  edit=lambda nb: _keep(nb, lambda c: "check_" not in _id(c))),
        "deleted answer": Student(1.0, "01.2: not attempted yet",
                                  edit=lambda nb: _keep(nb, lambda c: _id(c) != "answer_01_2")),
        "reordered": Student(2.0, edit=lambda nb: nb.cells.reverse()),
        "duplicated": Student(2.0, edit=lambda nb: nb.cells.extend(copy.deepcopy(nb.cells))),
        "more points": Student(1.0, "01.1: wrong", keys=WRONG_KEYS, edit=_more_points),
        "own grade cell": Student(1.0, "01.1: wrong", keys=WRONG_KEYS, edit=_own_grade_cell),
        "no metadata": Student(2.0, "missing is put back",
                               edit=lambda nb: [c.metadata.clear() for c in nb.cells]),
        "wrong kernel": Student(2.0, "asks for a 'R' kernel",
                                edit=lambda nb: nb.metadata.update(kernelspec=other_kernel)),
        "script in Markdown": Student(
            2.0, "harmless", edit=lambda nb: nb.cells.insert(0, new_markdown_cell(SCRIPT))),
        "script in a raw cell": Student(
            2.0, "harmless", edit=lambda nb: nb.cells.insert(0, new_raw_cell(SCRIPT))),
        "empty": Student(0.0, "it is empty", file=b""),
        "truncated": Student(0.0, "only a part of one", file=lambda data: data[: len(data) // 2]),
        "a picture": Student(0.0, "not a Jupyter notebook", file=b"\x89PNG\r\n\x1a\n" + bytes(99)),
        "a list": Student(0.0, "not a Jupyter notebook", file=b"[1, 2]"),
        "deep json": Student(0.0, "not a Jupyter notebook", file=b"[" * 10**5),
        "huge": Student(0.0, "larger than", file=b"{" + b" " * (21 * 2**20)),
        "a link": Student(0.0, "could not be graded", file=elsewhere),
        "a folder": Student(0.0, "could not be graded", file=None),
        "old format": Student(2.0, file=_as_version_3),
        "strange text": Student(2.0, before=["'\\ud800 \U0001f600 \u202e \x00'", "# \ud83d"]),
        "untouched": Student(0.0, "not attempted yet", keys=None, best=None),
    }  # fmt: skip


def honest() -> dict[str, Student]:
    """Students who do nothing special, some with names that are."""
    return {
        "anna": Student(2.0, "01.1: correct"),
        "bo": Student(1.0, "norm.num_batches_tracked", keys=WRONG_KEYS),
        "cem": Student(1.0, "moved with the model", best=WRONG_BEST),
        "Zoë Ångström 孔": Student(2.0),
        "Robert'); DROP TABLE student;--": Student(2.0),
        "=1+1": Student(2.0),
        "o'brien [extra] *": Student(2.0),
        "syntax error": Student(1.0, "SyntaxError", keys="def keys(module:\n    return"),
    }


def hand_in(folder: Path, name: str, student: Student, released) -> None:
    """Write a student's folder."""
    path = folder / name / f"{SLUG}.ipynb"
    path.parent.mkdir(parents=True)
    if name == "a folder":
        path.mkdir()
        return
    if isinstance(student.file, bytes):
        path.write_bytes(student.file)
        return
    if isinstance(student.file, Path):
        path.symlink_to(student.file)
        return
    notebook = copy.deepcopy(released)
    answers = {"answer_01_1": student.keys, "answer_01_2": student.best}
    for cell in notebook.cells:
        if answers.get(_id(cell)) is not None:
            cell.source = answers[_id(cell)]
    for source in student.before:
        notebook.cells.insert(1, new_code_cell(source))
    if callable(student.edit):
        student.edit(notebook)
    data = json.dumps(notebook).encode()
    path.write_bytes(student.file(data) if callable(student.file) else data)


def _id(cell):
    return cell.metadata.get("nbgrader", {}).get("grade_id", "")


def _keep(notebook, condition):
    notebook.cells = [cell for cell in notebook.cells if condition(cell)]


def _set_check(source):
    def edit(notebook):
        for cell in notebook.cells:
            if _id(cell) == "check_01_1":
                cell.source = source

    return edit


def _more_points(notebook):
    for cell in notebook.cells:
        if "nbgrader" in cell.metadata:
            cell.metadata.nbgrader["points"] = 100
            cell.metadata.nbgrader["locked"] = False


def _own_grade_cell(notebook):
    metadata = {"schema_version": 3, "grade_id": "bonus", "grade": True, "solution": False,
                "locked": True, "task": False, "points": 50, "cell_type": "code"}  # fmt: skip
    notebook.cells.append(new_code_cell("50", metadata={"nbgrader": metadata}))
    notebook.cells.append(new_code_cell("50", metadata={"nbgrader": {"grade_id": ["odd"]}}))
    notebook.cells.append(new_code_cell("50", metadata={"nbgrader": "odd"}))


def _as_version_3(data):
    return nbformat.writes(nbformat.from_dict(json.loads(data)), version=3).encode()
