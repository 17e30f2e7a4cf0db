"""What is paid once for many submissions: it must change nothing that they do."""

import os
import subprocess
import sys

import nbformat
import pytest

from course_utils.grading.classroom.pages import FeedbackPage
from course_utils.grading.classroom.pool import _group, _Todo
from course_utils.grading.classroom.release import assignment

WARM = """
import os, random, sys, threading
import numpy as np, torch
torch.set_num_threads(1)
from course_utils.grading.sandbox.inside.warm import warm_up
from course_utils.resume.rng import RngState
before, folder = RngState().state_dict(), os.getcwd()
warm_up()
after = RngState().state_dict()
assert torch.equal(before["torch"], after["torch"]) and before["python"]["gauss"] is None
assert torch.equal(before["python"]["words"], after["python"]["words"])
assert len(os.listdir("/proc/self/task")) == 1, "a copy would lack the other threads"
assert os.getcwd() == folder and torch.get_default_dtype() == torch.float32
there = set(sys.modules)
from io import BytesIO
from torch import nn
model = nn.Linear(2, 2)
torch.optim.Adam(model.parameters()).step()
torch.save(model.state_dict(), BytesIO())
torch.export.export(model, (torch.ones(1, 2),))
torch.jit.trace(model, torch.ones(1, 2))
print(sorted(set(sys.modules) - there))
"""
FORK = """
import os
from course_utils.grading.sandbox.inside import namespaces
os.register_at_fork(after_in_child=lambda: os._exit(9))
child = namespaces.fork()
if child == 0:
    os._exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
import resource
resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
os.setuid(65534)
try:
    namespaces.fork()
except OSError as error:
    print("refused", error.errno)
"""
CONDITIONS = """
import random
import numpy as np, torch
from course_utils.grading.sandbox.observing import set_conditions
from course_utils.resume.rng import seed_everything
def numbers(seed):
    seed()
    return random.random(), float(np.random.rand()), torch.rand(3).tolist(), torch.initial_seed()
print(numbers(set_conditions) == numbers(lambda: seed_everything(0)))
"""


def in_a_new_process(code):
    environment = os.environ | {"OMP_NUM_THREADS": "1"}  # as in a sandbox
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


linux = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox forks on Linux only")


@linux
def test_warming_up_imports_what_comes_late_and_leaves_no_trace():
    assert in_a_new_process(WARM) == "[]"


@linux
@pytest.mark.skipif(os.getuid() != 0, reason="only root can become a user who may not fork")
def test_a_fork_is_a_fork_and_says_when_it_could_not():
    assert in_a_new_process(FORK).startswith("refused")


def test_the_conditions_of_a_case_are_those_of_seed_everything():
    assert in_a_new_process(CONDITIONS) == "True"


def notebooks(*slugs):
    return {number: assignment(slug) for number, slug in enumerate(slugs)}


def to_do(notebooks):
    return _Todo(notebooks, {key: _group(notebook) for key, notebook in notebooks.items()})


def test_a_worker_stays_with_a_lesson_and_helps_out_at_the_end():
    one, two = "01_state_dict_anatomy", "03_partial_loading"
    todo = to_do(notebooks(one, two, one, two, one))
    groups = {key: group for group, keys in todo.left.items() for key in keys}
    first = todo.take(())
    assert first in {0, 2, 4}, "the largest lesson comes first"
    other = todo.take(())
    assert other in {1, 3}, "another worker begins another lesson"
    assert {todo.take(groups[first]), todo.take(groups[first])} == {0, 2, 4} - {first}
    assert todo.take(groups[first]) in {1, 3}, "and then helps with what is left"
    assert todo.take(groups[other]) is None


def test_lessons_that_need_a_second_python_are_one_group():
    todo = to_do(notebooks("02_checkpoint_and_resume", "09_after_torchscript"))
    assert len(todo.left) == 1


def test_a_notebook_with_an_unknown_exercise_harms_no_other():
    strange = assignment("01_state_dict_anatomy")
    strange.cells[-1].metadata.nbgrader["grade_id"] = "check_77_7"
    todo = to_do({0: strange, 1: assignment("01_state_dict_anatomy")})
    assert {todo.take(()), todo.take(())} == {0, 1}


def test_templates_are_compiled_once_for_pages_with_the_same_filters():
    note = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# A")])
    one, same = FeedbackPage(), FeedbackPage()
    other = FeedbackPage(filters={"markdown2html": lambda text: "zebra zebra"})
    pages = [page.from_notebook_node(note)[0] for page in (one, other, same)]
    assert ["zebra zebra" in page for page in pages] == [False, True, False]
    assert one.environment is same.environment
    assert one.environment is not other.environment
