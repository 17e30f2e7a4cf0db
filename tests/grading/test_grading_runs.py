"""Grading as a job: killed and resumed, repeated, on a cluster, beside grades given by hand."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict

import pytest
from classroom import BEST, KEYS, SLUG, WRONG_KEYS, Student, hand_in
from nbgrader.apps.api import NbGraderAPI

from course_utils.grading.classroom.alike import Group, groups, handed_in
from course_utils.grading.classroom.course import Course, succeed
from course_utils.grading.classroom.grader import close_sandboxes
from course_utils.grading.classroom.intake import take_in
from course_utils.grading.classroom.pool import grade_all
from course_utils.grading.classroom.recording import Results
from course_utils.grading.classroom.release import release, write_handout
from course_utils.grading.classroom.run import grade_class
from course_utils.grading.classroom.unchanged import Look
from course_utils.grading.exercise import load_exercise
from course_utils.grading.sandbox import Limits
from course_utils.grading.sandbox.jail import can_isolate

pytestmark = [
    pytest.mark.skipif(not can_isolate(), reason="bubblewrap is not usable here"),
    pytest.mark.filterwarnings("ignore:Object of type <Submitted"),  # from within nbgrader
]
SLOW = ["import time; time.sleep(1)"]
STUDENTS = {
    "a": Student(2.0),
    "b": Student(1.0, keys=WRONG_KEYS, before=SLOW),
    "c": Student(0.0, keys=None, best=None, before=SLOW),
    "d": Student(2.0, keys=KEYS + "\n# d", best=BEST, before=SLOW),
}
SCORES = {name: student.score for name, student in STUDENTS.items()}


@pytest.fixture(scope="module")
def classroom(tmp_path_factory):
    """A released course and its submissions, graded by a run that was killed and one more."""
    root = tmp_path_factory.mktemp("runs")
    course = Course.open(root / "course")
    release(course, [SLUG])
    for name, student in STUDENTS.items():
        hand_in(root / "submissions", name, student, course.released(SLUG))
    killed = _grade_and_kill(course, root / "submissions")
    times = {path: path.stat().st_mtime_ns for path in killed}
    rows, failures = grade_class(course, root / "submissions")
    assert failures == {}
    return course, root / "submissions", rows, times


def _grade_and_kill(course, submissions):
    """Start the command, kill it with its first result, and return the results it left."""
    command = [sys.executable, "-m", "course_utils.grading", f"--course={course.root}", "grade"]
    process = subprocess.Popen(
        [*command, str(submissions), "--workers=1"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 120
    while not list(course.root.glob("results/*.json")) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return list(course.root.glob("results/*.json"))


def scores(rows):
    return {row.student: row.score for row in rows}


def test_a_killed_run_is_taken_up_where_it_was(classroom):
    course, _, rows, times = classroom
    assert 0 < len(times) < len(STUDENTS), "it was to be killed in the middle"
    assert scores(rows) == SCORES
    for path, when in times.items():
        assert path.stat().st_mtime_ns == when, "what was graded is not graded again"
    assert len(list(course.root.glob("feedback/*/*/*.html"))) == len(STUDENTS)


def test_grading_again_gives_the_same(classroom):
    course, submissions, rows, _ = classroom
    before = {path: json.loads(path.read_text()) for path in course.root.glob("results/*.json")}
    repeated, failures = grade_class(course, submissions, again=True)
    after = {path: json.loads(path.read_text()) for path in course.root.glob("results/*.json")}
    assert failures == {}
    assert before == after
    assert [asdict(row) for row in repeated] == [asdict(row) for row in rows]


def test_what_is_graded_is_not_run_again(classroom, monkeypatch):
    course, submissions, rows, _ = classroom
    graded = []
    monkeypatch.setattr(
        "course_utils.grading.classroom.run.grade_all",
        lambda notebooks, *args, **kwargs: graded.extend(notebooks) or iter(()),
    )
    for step in ("autograde", "generate_feedback"):
        monkeypatch.setattr(
            NbGraderAPI, step, lambda *args, step=step, **kwargs: graded.append(step)
        )
    assert scores(grade_class(course, submissions)[0]) == scores(rows)
    assert graded == [], "no sandbox, no gradebook, no page"


def test_a_run_that_went_well_leaves_word_that_nothing_is_to_be_done(classroom):
    course, submissions, _, _ = classroom
    rows, failures = grade_class(course, submissions)
    assert failures == {}
    assert Look(course.root, submissions, Limits(), ()).rows() == rows
    (submissions / f"{SLUG}.ipynb").write_text("{}")
    _, failures = grade_class(course, submissions)
    (submissions / f"{SLUG}.ipynb").unlink()
    assert failures != {}
    with course.nbgrader().gradebook as gradebook:
        gradebook.find_grade("check_01_1", SLUG, SLUG, "b").extra_credit = 0.5
        gradebook.db.commit()
        assert Look(course.root, submissions, Limits(), ()).rows() is None
        gradebook.find_grade("check_01_1", SLUG, SLUG, "b").extra_credit = None
        gradebook.db.commit()


def test_what_nbgrader_collected_is_graded_in_place(classroom):
    """The exchange puts read-only files right where nbgrader looks for them."""
    course, submissions, rows, _ = classroom
    shutil.rmtree(course.root / "submitted")
    for student in submissions.iterdir():
        target = course.submitted(student.name, SLUG)
        target.parent.mkdir(parents=True)
        shutil.copy(student / f"{SLUG}.ipynb", target)
        (target.parent / "timestamp.txt").write_text("2030-01-02 03:04:05.678 UTC\n")
        target.chmod(0o444)
    for _ in range(2):
        graded, failures = grade_class(course, course.root / "submitted")
        assert failures == {}
        assert scores(graded) == scores(rows)
    with course.nbgrader().gradebook as gradebook:
        shutil.rmtree(course.root / "results" / "recorded")
        grade_class(course, course.root / "submitted")
        assert gradebook.find_submission(SLUG, "a").timestamp.year == 2030


def test_a_cluster_grades_alike(classroom):
    from dask.distributed import LocalCluster

    course, submissions, rows, _ = classroom
    with LocalCluster(
        n_workers=1, threads_per_worker=2, processes=True, dashboard_address=None
    ) as cluster:
        again, failures = grade_class(
            course, submissions, again=True, scheduler=cluster.scheduler_address
        )
    assert failures == {}
    assert [asdict(row) for row in again] == [asdict(row) for row in rows]


def test_a_worker_of_a_cluster_that_is_killed_loses_nothing(classroom):
    """Two workers; one is killed, with its sandbox, when the first result has come."""
    from dask.distributed import Client, LocalCluster

    course, submissions, rows, _ = classroom
    taken = take_in(course, submissions).taken
    notebooks = {s.student: s.notebook for s in taken}
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster,
        Client(cluster) as client,
    ):
        outcomes, killed = {}, 0
        seed = Results(course.root, Limits()).seed
        for student, outcome in grade_all(
            notebooks, seed, Limits(), scheduler=cluster.scheduler_address
        ):
            outcomes[student] = outcome
            if not killed:
                killed = min(client.run(os.getpid).values())
                os.kill(killed, signal.SIGKILL)
    scores = {
        student: sum(c * load_exercise(e).task.points for e, c in outcome.credits.items())
        for student, outcome in outcomes.items()
    }
    assert scores == {row.student: row.score for row in rows}


def test_answers_that_are_alike_are_found_in_what_was_graded(classroom):
    assert Group("01.2", ("a", "b", "d")) in groups(handed_in(classroom[0]))


def test_an_instructors_own_grade_survives_grading_again(classroom):
    course, submissions, _, _ = classroom
    with course.nbgrader().gradebook as gradebook:
        grade = gradebook.find_grade("check_01_1", SLUG, SLUG, "b")
        grade.manual_score = 0.5
        gradebook.db.commit()
    shutil.rmtree(course.root / "results" / "recorded")  # so that all is recorded anew
    rows, _ = grade_class(course, submissions)
    row = next(row for row in rows if row.student == "b")
    assert (row.score, row.state) == (1.5, "graded"), (
        "nothing changed, so nothing is to be reviewed"
    )
    with course.nbgrader().gradebook as gradebook:
        grade = gradebook.find_grade("check_01_1", SLUG, SLUG, "b")
        grade.manual_score = None
        gradebook.db.commit()


def test_points_and_comments_given_by_hand_reach_the_page(classroom):
    course, submissions, _, _ = classroom
    page = course.root / "feedback" / "b" / SLUG / f"{SLUG}.html"
    grade_class(course, submissions)
    before = page.stat().st_mtime_ns
    grade_class(course, submissions)
    assert page.stat().st_mtime_ns == before, "what did not change is not written again"
    with course.nbgrader().gradebook as gradebook:
        gradebook.find_grade("check_01_1", SLUG, SLUG, "b").extra_credit = 0.25
        comment = gradebook.find_comment("answer_01_1", SLUG, SLUG, "b")
        comment.manual_comment = "SEE-ME-IN-MY-OFFICE"
        gradebook.db.commit()
    rows, _ = grade_class(course, submissions)
    assert scores(rows) == {**SCORES, "b": 1.25}
    assert "SEE-ME-IN-MY-OFFICE" in page.read_text()
    with course.nbgrader().gradebook as gradebook:
        gradebook.find_grade("check_01_1", SLUG, SLUG, "b").extra_credit = None
        gradebook.db.commit()


def test_a_due_date_and_a_policy_that_come_later_count(classroom):
    course, submissions, _, _ = classroom
    collected = course.root / "submitted"
    for student in STUDENTS:
        late = "2030-01-02 00:00:00 UTC" if student == "d" else "2026-01-02 00:00:00 UTC"
        (course.submitted(student, SLUG).parent / "timestamp.txt").write_text(late)
    assert scores(grade_class(course, collected)[0]) == SCORES
    config = course.root / "nbgrader_config.py"
    text = config.read_text()
    config.write_text(text + '\nc.LateSubmissionPlugin.penalty_method = "zero"\n')
    with course.nbgrader().gradebook as gradebook:
        gradebook.update_or_create_assignment(SLUG, duedate="2027-01-01 00:00:00 UTC")
    rows, _ = grade_class(course, collected)
    assert scores(rows) == {**SCORES, "d": 0.0}
    assert next(row for row in rows if row.student == "d").late_penalty == SCORES["d"]
    with course.nbgrader().gradebook as gradebook:
        gradebook.grant_extension(SLUG, "d", weeks=1000)
    assert scores(grade_class(course, collected)[0]) == SCORES
    config.write_text(text)
    # Handed in anew, by a way that notes no time: the old time no longer counts.
    assert scores(grade_class(course, submissions)[0]) == SCORES
    with course.nbgrader().gradebook as gradebook:
        assert gradebook.find_submission(SLUG, "d").timestamp is None


def test_other_limits_are_noticed(classroom, monkeypatch):
    course, submissions, _, _ = classroom
    graded = []
    monkeypatch.setattr(
        "course_utils.grading.classroom.run.grade_all",
        lambda notebooks, *args, **kwargs: graded.extend(notebooks) or iter(()),
    )
    grade_class(course, submissions, limits=Limits(seconds=7))
    assert len(graded) == len(STUDENTS)
    assert Results(course.root).limits == Limits(seconds=7), "formgrader's button uses them too"
    graded.clear()
    grade_class(course, submissions)
    assert graded == []


def test_the_table_holds_the_whole_course(classroom, tmp_path):
    course, *_ = classroom
    hand_in(tmp_path, "late lou", STUDENTS["a"], course.released(SLUG))
    (tmp_path / "empty eve").mkdir()
    graded, failures = grade_class(course, tmp_path)
    assert failures == {}
    assert scores(graded) == {**SCORES, "late lou": 2.0, "empty eve": 0.0}
    eve = next(row for row in graded if row.student == "empty eve")
    assert (eve.state, eve.note) == ("missing", "empty eve: the folder is empty")
    text = (course.root / "grades.csv").read_text()
    assert all(name in text for name in scores(graded))


def test_no_page_for_one_is_no_table_for_none(classroom, monkeypatch):
    course, submissions, _, _ = classroom
    (course.root / "grades.csv").unlink()
    shutil.rmtree(course.root / "feedback")
    broken = next(course.root.glob("autograded/b/*/*.ipynb"))
    broken.chmod(0o644)
    whole = broken.read_text()
    broken.write_text("{")
    rows, failures = grade_class(course, submissions)
    broken.write_text(whole)
    assert list(failures) == [("b", SLUG)]
    assert "no feedback page" in failures["b", SLUG]
    assert scores(rows)["b"] == SCORES["b"]
    assert (course.root / "grades.csv").exists()
    assert {p.parts[-3] for p in course.root.glob("feedback/*/*/*.html")} >= {"a", "c", "d"}


def test_nbgraders_own_autograde_uses_the_sandbox_too(classroom):
    """Formgrader's button calls it; there is no result of `make grade` to use then."""
    course, _, _, _ = classroom
    for path in course.root.glob("results/*.json"):
        path.unlink()
    with course.here():
        succeed(course.nbgrader().autograde(SLUG, "b", force=True))
    close_sandboxes()
    with course.nbgrader().gradebook as gradebook:
        assert gradebook.find_submission(SLUG, "b").score == SCORES["b"]


def test_one_submission_that_cannot_be_graded_is_named_and_stops_nobody(classroom, monkeypatch):
    course, submissions, _, _ = classroom
    from course_utils.grading.classroom import run as grading_run

    def sabotaged(notebooks, *args, **kwargs):
        return ((key, RuntimeError("no room")) for key in notebooks if key[0] == "b")

    monkeypatch.setattr(grading_run, "grade_all", sabotaged)
    rows, failures = grade_class(course, submissions, again=True)
    assert list(failures) == [("b", SLUG)]
    assert "no room" in failures["b", SLUG]
    assert scores(rows)["d"] == SCORES["d"]


def test_the_handout_checks_without_holding_an_answer(classroom):
    course, _, _, _ = classroom
    folder = write_handout(course)
    assert not list(folder.rglob("solutions"))
    assert not list(folder.rglob("secret_seed"))
    program = (
        "from course_utils.grading import check, solution\n"
        f"{KEYS}\nprint(check('01.1', keys).status)\n"
        f"{WRONG_KEYS}\nprint(check('01.1', keys).status)\nsolution('01.1')\n"
        "from course_utils import save_checkpoint\nfrom course_utils.compare import differences\n"
        "def helper(x): return save_checkpoint(x, 'y')\n"
        "def keys(module): return helper(module)\nprint(check('01.1', keys))\n"
        "def keys(module): import course_utils.partial.plan\nprint(check('01.1', keys).message)\n"
        "def keys(module):\n    from course_utils.compare import differences\n"
        "    return sorted(module.state_dict())\nprint(check('01.1', keys).status)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-P", "-c", program],
        env={**os.environ, "PYTHONPATH": str(folder)},
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.splitlines()[:2] == ["correct", "wrong"]
    assert "comes without solutions" in ran.stdout
    assert "course_utils.checkpoint.save, which a graded notebook does not have" in ran.stdout
    assert "course_utils.partial.plan, which a graded notebook does not have" in ran.stdout
    assert ran.stdout.splitlines()[-1] == "correct"


def test_two_threads_draw_from_no_generator_at_once(monkeypatch):
    """A worker of a cluster has several: what is expected is worked out by one at a time."""
    from concurrent.futures import ThreadPoolExecutor

    import nbformat

    from course_utils.grading.classroom import grader

    inside, most = [], []

    def watched(*_):
        inside.append(1)
        most.append(len(inside))
        time.sleep(0.05)
        inside.pop()

    class Nothing:
        def run(self, *_):
            watched()

    monkeypatch.setitem(grader._sandboxes, Limits(), Nothing())
    monkeypatch.setattr(grader, "load_exercise", load_exercise)
    monkeypatch.setattr(grader, "_judge", watched)
    monkeypatch.setattr(grader, "_said", lambda *_: "")
    cell = nbformat.v4.new_code_cell("check('01.2')")
    monkeypatch.setattr(grader, "checked_exercise", lambda _: "01.2")
    notebook = nbformat.v4.new_notebook(cells=[cell])

    def grade(_):
        try:
            grader.grade(notebook, 1)
        except AttributeError:  # nothing was judged, so nothing can be reported
            return

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(grade, range(8)))
    assert most == [1] * 16
