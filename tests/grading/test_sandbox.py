"""What a submission can do to the sandbox, the machine and the submissions after it: nothing."""

import importlib
import inspect
import os
import re
import socket
import sys
import warnings

import pytest
import torch
from nbformat.v4 import new_code_cell, new_notebook

from course_utils.grading.classroom.grader import close_sandboxes, grade, grade_id
from course_utils.grading.exercise import (
    Observation,
    all_exercises,
    load_exercise,
    load_reference,
)
from course_utils.grading.sandbox.inside import frames
from course_utils.grading.sandbox.jail import WeakIsolationWarning, can_isolate
from course_utils.grading.sandbox.plain import MAX_BYTES, PlainDataError, pack, unpack
from course_utils.grading.sandbox.runner import Cell, Limits, Sandbox
from course_utils.grading.sandbox.student_package import (
    SANDBOX_MODULES,
    slice_of,
    write_student_package,
)
from course_utils.grading.sandbox.trial import Trial

needs_walls = pytest.mark.skipif(not can_isolate(), reason="bubblewrap is not usable here")
LIMITS = Limits(seconds=3, memory=700 * 2**20, processes=20, file=2**20)

HONEST = "def keys(module):\n    return sorted(module.state_dict())"
EXERCISE = load_exercise("01.1")
TASKS, CASES = {"01.1": EXERCISE.task}, {"01.1": EXERCISE.cases(5)}


@pytest.fixture(scope="module", params=[pytest.param(True, marks=needs_walls), False],
                ids=["walls", "plain"])  # fmt: skip
def sandbox(request):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", WeakIsolationWarning)
        with Sandbox(LIMITS, isolated=request.param) as sandbox:
            sandbox.run([Cell("")], {}, {})
            yield sandbox


@pytest.fixture(scope="module")
def small():
    if not can_isolate():
        pytest.skip("bubblewrap is not usable here")
    limits = Limits(seconds=8, memory=300 * 2**20, processes=20)
    with Sandbox(limits, isolated=True) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def walled():
    if not can_isolate():
        pytest.skip("bubblewrap is not usable here")
    with Sandbox(LIMITS, isolated=True) as sandbox:
        yield sandbox


def run(sandbox, *sources):
    """Run cells before an honest answer, which must not suffer; return their record."""
    cells = [*map(Cell, sources), Cell(HONEST), Cell("", check="01.1")]
    record = sandbox.run(cells, TASKS, CASES)
    seen = record.seen["01.1"]
    assert [seen[number].status for number in range(len(CASES["01.1"]))] == ["ran"] * 3
    return record


ENDINGS = {
    "os._exit": ("import os; os._exit(0)", "ended the Python process"),
    "segfault": ("import ctypes; ctypes.string_at(0)", "ended the Python process"),
    "abort": ("import os; os.abort()", "ended the Python process"),
    "kill itself": ("import os; os.kill(os.getpid(), 9)", "ended the Python process"),
    "kill its whole group": ("import os; os.kill(0, 9)", "ended the Python process"),
    "endless loop": ("while True: pass", "longer than 3 seconds"),
    "endless output": ("while True: print('x' * 1000)", "longer than 3 seconds"),
    "endless lines to the terminal": (
        "import os\nwhile True: os.write(1, b'x' * 1000)", "longer than 3 seconds"),
    "fork bomb": ("import os\nwhile True: os.fork()", "more than 20 processes"),
    "memory hog in many processes": (
        "import os, time\nfor _ in range(4):\n    if os.fork() == 0: break\n"
        "x = bytearray(300 * 2**20)\nwhile True:\n    x[::4096] = x[::4096]", "MB of memory"),
}  # fmt: skip


@pytest.mark.parametrize("name", ENDINGS)
def test_a_cell_that_ends_the_process_costs_only_itself(sandbox, name):
    source, why = ENDINGS[name]
    if name in ("fork bomb", "endless output") and not sandbox.isolated:
        pytest.skip("the same watch as within walls; a bomb had better not go off without them")
    record = run(sandbox, "before = 1", source, "print(before)")
    assert why in record.stopped["cell 1"]
    assert record.texts[2] == "1\n"
    assert list(record.stopped) == ["cell 1"]


HIDDEN_MEMORY = {
    "files without a name": (
        "import os, time\nfds = [os.memfd_create('m') for _ in range(8)]\nfor fd in fds:\n"
        "    for _ in range(50): os.write(fd, bytes(2**20))\ntime.sleep(9)"),
    "shared by several processes": (
        "import mmap, os, time\nfor _ in range(3):\n    if os.fork() == 0:\n"
        "        m = mmap.mmap(-1, 150 * 2**20)\n"
        "        for i in range(0, len(m), 4096): m[i] = 1\n        time.sleep(9)\n"
        "time.sleep(9)"),
    "files in memory": (
        "import time\nfor n in ('/tmp/a', '/dev/shm/a'):\n    for k in range(4):\n"
        "        open(n + str(k), 'wb').write(bytes(60 * 2**20))\ntime.sleep(9)"),
}  # fmt: skip


@pytest.mark.parametrize("name", HIDDEN_MEMORY)
def test_memory_counts_wherever_it_is(small, name):
    record = run(small, HIDDEN_MEMORY[name])
    assert "more than 300 MB of memory" in record.stopped["cell 0"]


def test_memory_that_copies_of_a_process_share_counts_once(small):
    """At each check the process is copied; what the cells hold is not held twice by that."""
    checks = [Cell("", check="01.1"), Cell("", check="01.2")]
    cells = [Cell("held = bytearray(b'x' * 200 * 2**20)"), Cell(HONEST), *checks]
    record = small.run(cells, {**TASKS, "01.2": load_exercise("01.2").task}, {**CASES, "01.2": []})
    assert record.stopped == {}
    assert record.seen["01.1"][0].status == "ran"


def test_threads_count_as_processes(small):
    start = "threading.Thread(target=time.sleep, args=(9,), daemon=True).start()"
    record = run(small, "import threading, time\nthreading.stack_size(65536)\n"
                        f"for _ in range(200): {start}\ntime.sleep(9)")  # fmt: skip
    assert "more than 20 processes and threads" in record.stopped["cell 0"]


def test_slow_cells_do_not_take_the_answers_time():
    limits = Limits(seconds=8, total_seconds=6, memory=700 * 2**20)
    cells = [*[Cell("import time; time.sleep(2.5)")] * 3, Cell(HONEST, answer=True),
             Cell("", check="01.1")]  # fmt: skip
    with Sandbox(limits) as sandbox:
        record = sandbox.run(cells, TASKS, CASES)
    assert record.seen["01.1"][2].status == "ran"
    assert "all cells together took longer than 6 seconds" in record.stopped["cell 0"]
    assert "left out" in record.stopped["cell 0"]


def test_each_case_finds_what_the_cells_left_and_nothing_of_another_case(sandbox):
    """A cache, a counter, a file: the first case's are gone for the second."""
    counting = (
        "seen = []\ndef keys(module):\n    import os\n    seen.append(1)\n"
        "    open('trace', 'w')\n    return [str(len(seen)), *os.listdir('.')]"
    )
    record = sandbox.run([Cell(counting), Cell("", check="01.1")], TASKS, CASES)
    assert [seen.data for seen in record.seen["01.1"].values()] == [["1", "trace"]] * 3


def test_the_server_outlives_a_signal_to_a_whole_group(sandbox):
    run(sandbox, "1")
    before = sandbox._server.pid
    run(sandbox, "import os; os.kill(0, 9)")
    assert sandbox._server.pid == before


def test_a_file_that_ends_its_reader_costs_only_itself():
    """Files of students are read in a process of their own; the rest is read by the next."""

    class Dying:
        limits, asked = LIMITS, []

        def call(self, message):
            data = [seen["data"] for _, _, seen in message["read"]]
            self.asked.append(data)
            alive = data[: data.index("deadly")] if "deadly" in data else data
            answer = {"status": "ran", "error": ""}
            return {"sent": [pack({"case": n, "data": d, **answer}) for n, d in enumerate(alive)]}

    exercise = load_exercise("01.3")
    trial = Trial(Dying(), [], {"01.3": exercise}, {"01.3": exercise.cases(1)})
    data = ["a", "deadly", "c"]
    trial.record.seen = {"01.3": {n: Observation("ran", each) for n, each in enumerate(data)}}
    trial._read()
    seen = trial.record.seen["01.3"]
    assert [seen[n].status for n in range(3)] == ["ran", "failed", "ran"]
    assert "could not be read" in seen[1].error
    assert trial.sandbox.asked == [data, ["c"]]


def test_an_answer_that_ends_its_process_costs_only_its_exercise(sandbox):
    tasks = {**TASKS, "01.2": load_exercise("01.2").task}
    cases = {**CASES, "01.2": load_exercise("01.2").cases(5)}
    ends = "import os\ndef keep_best(*a):\n    os.kill(os.getppid(), 9)\n    os._exit(0)"
    cells = [Cell(HONEST), Cell(ends), Cell("", check="01.1"), Cell("", check="01.2")]
    record = sandbox.run(cells, tasks, cases)
    assert [seen.status for seen in record.seen["01.1"].values()] == ["ran"] * 3
    assert "01.2" not in record.seen
    assert set(record.stopped) == {"check 01.2"}


ERRORS = {
    "sys.exit": ("import sys; sys.exit(3)", "SystemExit"),
    "memory hog": ("x = bytearray(10**10)", "MemoryError"),
    "recursion": ("def f(): f()\nf()", "RecursionError"),
    "a large file": ("open('big', 'wb').write(bytes(2**21))", "File too large"),
    "input": ("input()", "EOFError"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_a_cell_that_fails_shows_its_error(sandbox, name):
    source, error = ERRORS[name]
    record = run(sandbox, source)
    assert error in record.texts[0]
    assert not record.stopped


def test_long_output_is_cut(sandbox):
    assert len(run(sandbox, "print('x' * 10**6)").texts[0]) < 21_000


FORBIDDEN = {
    "network": "import socket; socket.create_connection(('127.0.0.1', {port}), 2)",
    "references": "import course_utils.grading.solutions",
    "judges": "from course_utils.grading.exercises.ex_01_1 import judge",
    "hidden cases": "from course_utils.grading.exercises.ex_01_1 import cases",
    "production helper": "import course_utils.partial.plan",
    "nbgrader's seed and gradebook": "open({secret!r}).read()",
    "write outside": "open({secret!r}, 'a').write('x')",
    "write to the root": "open('/left', 'w')",
    "write to /dev": "open('/dev/left', 'w')",
    "write to the course": "open('/course/course_utils/lessons/models.py', 'a')",
    "write kernel settings": "open('/proc/sys/kernel/hostname', 'w').write('x')",
    "kill the server": "import os\nfor p in range(2, 400):\n"
    "    if p not in (os.getpid(), os.getppid()): os.kill(p, 9)",
    "read the server": "open('/proc/2/mem', 'rb'); open('/proc/2/environ').read()",
    "new namespaces": "import ctypes\nif ctypes.CDLL(None).unshare(0x10000000): raise OSError",
}


@pytest.mark.parametrize("name", FORBIDDEN)
def test_a_submission_cannot(walled, name, tmp_path):
    secret = tmp_path / "gradebook.db"
    secret.write_text("secret")
    with socket.create_server(("127.0.0.1", 0)) as server:
        source = FORBIDDEN[name].format(port=server.getsockname()[1], secret=str(secret))
        exec_outside = ("network", "nbgrader's seed and gradebook")
        if name in exec_outside:
            exec(source, {})  # outside the walls it works, so the test can fail
        record = run(walled, source)
    assert "Error" in record.texts[0]
    assert secret.read_text() == "secret"


def test_nothing_is_left_for_the_next_submission(walled):
    places = "for p in ('/tmp/left', '/tmp/work/left', '/dev/shm/left'):\n    "
    run(walled, places + "open(p, 'w').write('x')", "import builtins; builtins.left = 1",
        "import os, time\nif os.fork() == 0:\n    os.setsid()\n    time.sleep(100)")  # fmt: skip
    record = run(walled, "import os\n" + places + "print(os.path.exists(p))",
                 "import builtins; print(hasattr(builtins, 'left'))",
                 "print(len([p for p in os.listdir('/proc') if p.isdigit()]) < 9)")  # fmt: skip
    assert record.texts[0] == "False\n" * 3
    assert record.texts[1] == "False\n"
    assert record.texts[2] == "True\n"


def test_a_forged_frame_is_not_believed_beyond_its_data(walled):
    """A student who finds the pipe can claim results, which are then judged like any others."""
    forge = (
        "import os\nfor fd in range(3, 50):\n    try: os.write(fd, b'\\xff' * 100)\n"
        "    except OSError: pass"
    )
    record = walled.run([Cell(forge), Cell(HONEST), Cell("", check="01.1")], TASKS, CASES)
    assert set(record.seen) <= {"01.1"}
    assert run(walled, "1 + 1").texts[0].startswith("Out")


def test_without_bubblewrap_there_is_a_warning():
    with (
        pytest.warns(WeakIsolationWarning, match="install bubblewrap"),
        Sandbox(LIMITS, isolated=False) as sandbox,
    ):
        sandbox.run([Cell("")], {}, {})


def test_the_sandbox_holds_no_judge_and_no_answer(tmp_path):
    write_student_package(tmp_path)
    files = {str(p.relative_to(tmp_path / "course_utils")) for p in tmp_path.rglob("*.py")}
    assert not any("solutions" in name or "checking" in name for name in files)
    for exercise_id in all_exercises():
        name = f"ex_{exercise_id.replace('.', '_')}.py"
        code = (tmp_path / "course_utils/grading/exercises" / name).read_text()
        assert "def probe(" in code
        for hidden in ("def judge", "def cases", "TASK", "hints"):
            assert hidden not in code


@needs_walls
@pytest.mark.parametrize("exercise_id", all_exercises())
def test_a_reference_earns_everything_in_the_sandbox(walled_grading, exercise_id):
    """Or it calls the lesson's own solution, which is not to be had there."""
    reference = load_reference(exercise_id)
    metadata = {"grade": True, "solution": False, "grade_id": grade_id(exercise_id)}
    source = inspect.getsource(sys.modules[reference.__module__])
    cells = [
        new_code_cell(source),
        new_code_cell("check()", metadata={"nbgrader": metadata}),
    ]
    result = grade(new_notebook(cells=cells), seed=4242)
    text = result.texts.get("0", "")
    unavailable = "No module named 'course_utils." in text or "cannot import name" in text
    assert unavailable or result.credits == {exercise_id: 1.0}, result
    imports = re.findall(r"from (course_utils[\w.]*) import (.+)", source)
    used = {
        getattr(importlib.import_module(module), name).__module__
        for module, names in imports
        for name in names.split(", ")
    }
    assert unavailable == bool(used - {f"course_utils.{name}" for name in SANDBOX_MODULES})


@pytest.fixture(scope="module")
def walled_grading():
    yield
    close_sandboxes()


def test_a_slice_keeps_what_is_needed_and_no_more():
    source = (
        "import os, sys\nfrom json import dumps, loads\nA = 1\nB = A + 1\nC: int = 3\n"
        "def probe(x):\n    return _one(x), dumps(x)\ndef _one(x):\n    return B\n"
        "def judge(x):\n    return loads(C)\n"
    )
    kept = slice_of(source, "probe")
    for part in ("A = 1", "B = A + 1", "def _one", "import dumps"):
        assert part in kept
    for part in ("judge", "loads", "import os", "C:"):
        assert part not in kept


def test_plain_data_comes_back_as_it_was():
    value = {
        "a": [1, -2.5, True, None, "ü", b"\x00raw", b"", (1, (2,)), {3, 4}, float("inf")],
        7: {"t": torch.arange(6).reshape(2, 3).T, "h": torch.tensor(1.5, dtype=torch.bfloat16)},
    }
    back = unpack(pack(value))
    assert back["a"] == value["a"]
    assert torch.equal(back[7]["t"], value[7]["t"])
    assert back[7]["h"].dtype == torch.bfloat16


class Liar(str):
    def __eq__(self, other):
        return True

    __hash__ = str.__hash__


def test_plain_data_takes_no_objects_and_keeps_no_subclass():
    with pytest.raises(PlainDataError, match=r"the answer\['x'\]\[0\] is a object"):
        pack({"x": [object()]})
    assert type(unpack(pack(Liar("a")))) is str
    deep = []
    for _ in range(60):
        deep = [deep]
    with pytest.raises(PlainDataError, match="nested"):
        pack(deep)
    with pytest.raises(PlainDataError, match="at most"):
        pack(bytes(MAX_BYTES + 1))


@pytest.mark.parametrize(
    "data",
    [b"", b"\x00" * 8, b"\xff" * 100, pack([1])[:-5], (10**9).to_bytes(8, "little"),
     (2).to_bytes(8, "little") + b"{}", pack({"a": 1})[:20], pack(torch.ones(3))[:-1]],
)  # fmt: skip
def test_damaged_plain_data_is_refused(data):
    with pytest.raises(PlainDataError):
        unpack(data)


def test_torn_frames_are_left_out():
    reader, writer = os.pipe()
    frames.send(writer, b"one")
    frames.send(writer, b"two")
    data = os.read(reader, 100)
    assert list(frames.split(data)) == [b"one", b"two"]
    assert list(frames.split(data[:-1])) == [b"one"]
    frames.send(writer, b"x" * 11)
    with pytest.raises(frames.PipeClosedError, match="at most 10"):
        frames.receive(reader, 10)
    os.read(reader, 100)
    with pytest.raises(frames.PipeClosedError, match="in time"):
        frames.receive(reader, 10, seconds=0.05)
    os.close(writer)
    os.close(reader)
