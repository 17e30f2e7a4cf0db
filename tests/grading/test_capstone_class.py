"""A class hands in scripts of the capstone: what each deserves, whatever the others do."""

import csv
from pathlib import Path

import pytest

from course_utils.grading.classroom import capstone
from course_utils.grading.classroom.capstone import grade_capstone
from course_utils.grading.classroom.course import Course, open_gradebook
from course_utils.grading.limits import Limits
from course_utils.grading.sandbox.jail import WeakIsolationWarning, can_isolate
from course_utils.grading.sandbox.scripts import Walled
from course_utils.lessons import fragile
from course_utils.lessons.capstone import examine

ANSWERS = Path(__file__).parents[1] / "lessons" / "capstone"
SECRET = "PRIVATE-TO-THE-INSTRUCTOR"
HEAD = """import contextlib, os, socket, subprocess, sys, time
from pathlib import Path
run = Path(sys.argv[1])
"""
STEPS = "\nfor n in range(1, 31): print('step', n, 1 / n, flush=True)\n"

# What each hands in, and what must be said of it. None of these loads PyTorch.
HOSTILE = {
    "prints": ("print('exact=3/3')" + STEPS, "did not write final.safetensors"),
    "hangs": ("time.sleep(600)", "not done after 60 seconds"),
    "reads": ("raise ValueError(open({secret!r}).read())", "No such file"),
    "lists": ("raise ValueError(sorted(os.listdir({folder!r})))", "No such file"),
    "answers": ("import course_utils.grading.solutions", "No module named"),
    "writes": (
        "for name in ({secret!r}, '/hand-in', '/usr/x', '/launcher/inside/script.py', '/etc/x'):\n"
        "    with contextlib.suppress(OSError): Path(name).write_text('mine')\n"
        "raise ValueError(Path('/hand-in').read_text() == Path(__file__).read_text())",
        "ValueError: True",
    ),
    "network": ("socket.create_connection(('127.0.0.1', {port}), 2)", "Network is unreachable|"
                "Connection refused"),
    "signals": ("os.kill(-1, 9)", "ends with an error|did not write|killed"),
    "fills": ("for n in range(999): (run / str(n)).write_bytes(bytes(2**20))", "more than 32 MB"),
    "litters": ("for n in range(10**7): (run / str(n)).touch()", "or there are too many"),
    "digs": ("for n in range(1500): os.mkdir(run := run / 'd')", "did not write final"),
    "shuts": ("(run / 'x' / 'y').mkdir(parents=True); os.chmod(run / 'x', 0)", "did not write"),
    "forks": ("while True: subprocess.Popen(['sleep', '60'])", "processes and threads"),
    "eats": ("x = b'1' * 2**30; time.sleep(60)", "MB of memory"),
    "links": ("(run / 'final.safetensors').symlink_to({secret!r}); "
              "(run / 'model.pt2').symlink_to({secret!r})" + STEPS, "did not write final"),
    "daemon": ("subprocess.Popen(['sleep', '600'], start_new_session=True)" + STEPS, "not write"),
    "paints": (r"raise ValueError('\x1b[31mred\x1b]0;title\x07 \x00 <b>')",
               "ValueError: red \N{REPLACEMENT CHARACTER} <b>"),
    "no code": ("\x00\x01", "error"),
}  # fmt: skip


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """The rows of a class of hostile students, what is told them, and the instructor's folder."""
    if not can_isolate():
        pytest.skip("bubblewrap is not usable here")
    root = tmp_path_factory.mktemp("capstone")
    secret = root / "secret.txt"
    secret.write_text(SECRET)
    facts = {"secret": str(secret), "folder": str(root), "port": 9}
    submissions = root / "submissions"
    for name, (text, _) in HOSTILE.items():
        (submissions / name).mkdir(parents=True)
        for key, value in facts.items():
            text = text.replace(f"{{{key}!r}}", repr(value)).replace(f"{{{key}}}", str(value))
        (submissions / name / "train.py").write_text(HEAD + text)
    (submissions / "missing").mkdir()
    (submissions / "empty").mkdir()
    (submissions / "empty" / "train.py").touch()
    (submissions / "pipe").mkdir()
    (submissions / "pipe" / "train.py").symlink_to(secret)
    (submissions / "lovelaceada_123_456_train.py").write_text("raise ValueError('ada')")
    (submissions / "train.py").write_text("whose?")
    course = Course.open(root / "class")
    with open_gradebook(course) as gradebook:
        gradebook.add_student("zoe")
    limits = Limits(seconds=60, memory=400 * 2**20, processes=40, tmp=32 * 2**20, file=8 * 2**20)
    rows, problems = grade_capstone(course, submissions, limits=limits, workers=2)
    return {row.student: row for row in rows}, problems, root


def told(root, student):
    return (root / "class" / "capstone" / f"{student}.txt").read_text()


@pytest.mark.parametrize("student", HOSTILE)
def test_a_hostile_script_earns_nothing_and_is_told_why(hostile, student):
    rows, _, root = hostile
    assert (rows[student].score, rows[student].max_score) == (0, 12)
    assert rows[student].state == "graded"
    assert any(words in told(root, student) for words in HOSTILE[student][1].split("|")), told(
        root, student
    )


def test_nothing_of_the_instructors_is_read_or_changed(hostile):
    _, _, root = hostile
    assert (root / "secret.txt").read_text() == SECRET
    for path in (root / "class" / "capstone").rglob("*.*"):
        assert SECRET not in path.read_text()
        assert "\x1b" not in path.read_text()


def test_who_handed_nothing_in_has_a_row_with_the_reason(hostile):
    rows, problems, _ = hostile
    assert (rows["missing"].state, rows["missing"].note) == (
        "missing", "missing: the folder is empty",
    )  # fmt: skip
    assert (rows["zoe"].state, rows["zoe"].note) == ("missing", "nothing was handed in")
    assert rows["pipe"].state == "missing"
    assert "train.py" in rows["pipe"].note
    assert rows["lovelaceada"].state == "graded"
    assert list(problems) == ["train.py"]  # nobody's


def test_the_table_is_written(hostile):
    rows, _, root = hostile
    with open(root / "class" / "capstone.csv", newline="") as file:
        written = list(csv.DictReader(file))
    assert [line["student"] for line in written] == list(rows)
    assert written[0]["max_score"] == "12.0"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("time.sleep(600)", "not done after 6 seconds"),
        ("for n in range(999): (run / str(n)).write_bytes(bytes(2**20))", "more than 32 MB"),
        ("(run / 'x').write_bytes(bytes(2**24))", "File too large"),
        ("raise ValueError(os.getcwd() == str(Path(__file__).parent) != str(run))", "Error: True"),
    ],
)
def test_without_walls_there_are_limits(tmp_path, text, words):
    (tmp_path / "train.py").write_text(HEAD + text)
    limits = Limits(tmp=32 * 2**20, file=8 * 2**20)
    with pytest.warns(WeakIsolationWarning):
        (finding,) = examine(
            tmp_path / "train.py",
            tmp_path / "runs",
            start=Walled(limits, False),
            seconds=6 if "sleep" in text else 120,
        ).findings
    assert not finding.holds
    assert words in finding.seen


@pytest.fixture(scope="module")
def honest(tmp_path_factory):
    """A class with a right answer and the script as it is given."""
    if not can_isolate():
        pytest.skip("bubblewrap is not usable here")
    root = tmp_path_factory.mktemp("honest")
    for name, script in (("right", ANSWERS / "by_hand.py"), ("stub", Path(fragile.__file__))):
        (root / "in" / name).mkdir(parents=True)
        (root / "in" / name / "train (1).py").write_bytes(script.read_bytes())
    course = Course.open(root / "class")
    rows, problems = grade_capstone(course, root / "in", limits=Limits(seconds=120), workers=2)
    assert not problems
    return {row.student: row for row in rows}, course


def test_a_right_script_earns_everything_and_the_stub_nothing(honest):
    rows, course = honest
    assert rows["right"].score == 12, told(course.root.parent, "right")
    assert rows["right"].points == "exact=3/3 crash-proof=3/3 portable=3/3 safe=3/3"
    assert rows["stub"].score == 0, told(course.root.parent, "stub")
    assert "Traceback" not in told(course.root.parent, "stub")


def test_what_was_tried_is_not_tried_again(honest, monkeypatch):
    rows, course = honest
    monkeypatch.setattr(capstone, "do_all", lambda work, todo, workers: [*todo.items()])
    again, problems = grade_capstone(course, course.root.parent / "in", limits=Limits(seconds=120))
    assert not problems
    assert {row.student: row for row in again} == rows
