"""The learner's copy: every way a file can have changed, here and there."""

import json
import os
import shutil
import subprocess
import sys

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from course_utils.lessons import learn
from course_utils.lessons.__main__ import main

LESSON = "01_lesson.ipynb"


def write(path, *texts, output="the answer"):
    """A notebook that was run: a question, and a code cell with each text."""
    cells = [new_markdown_cell("Predict.")]
    for number, text in enumerate(texts, start=1):
        shown = [new_output("stream", text=output)]
        cells.append(new_code_cell(text, execution_count=number, outputs=shown))
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(new_notebook(cells=cells), path)


def texts(path):
    return [cell.source for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]


@pytest.fixture
def course(tmp_path):
    folder = tmp_path / "notebooks"
    write(folder / learn.FIRST_PAGE, "print('welcome')")
    write(folder / LESSON, "x = 1")
    write(folder / "exercises" / LESSON, "def f(): ...")
    for name in ("data/saved.pt", "source/01_lesson.py", "INSTRUCTORS.md", "scratch/x.pt"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"bytes")
    return folder


@pytest.fixture
def mine(tmp_path, course):
    learn.refresh(tmp_path / "mine", course)
    return tmp_path / "mine"


def test_a_copy_has_what_learners_need_and_nothing_else(mine):
    files = {p.relative_to(mine).as_posix() for p in mine.rglob("*") if p.is_file()}
    assert files == {
        learn.FIRST_PAGE, LESSON, f"exercises/{LESSON}", "data/saved.pt", ".gitignore", learn.NOTES,
    }  # fmt: skip


def test_outputs_are_cleared_and_cells_are_the_same(mine, course):
    original, copy = (nbformat.read(folder / LESSON, 4).cells for folder in (course, mine))
    assert [c.source for c in copy] == [c.source for c in original]
    assert [c.id for c in copy] == [c.id for c in original]
    assert [(c.outputs, c.execution_count) for c in copy if c.cell_type == "code"] == [([], None)]


def test_git_does_not_see_it(mine, tmp_path):
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    command = ["git", "-C", tmp_path, "status", "--porcelain", "--", "mine"]
    assert subprocess.run(command, capture_output=True, check=True).stdout == b""


def test_nothing_changed(mine, course):
    before = {p: p.read_bytes() for p in mine.rglob("*") if p.is_file()}
    assert learn.refresh(mine, course) == learn.Refresh()
    assert before == {p: p.read_bytes() for p in mine.rglob("*") if p.is_file()}


def test_changed_by_the_learner_only(mine, course):
    write(mine / LESSON, "x = 'my notes'")
    assert learn.refresh(mine, course) == learn.Refresh(kept=[LESSON])
    assert texts(mine / LESSON) == ["x = 'my notes'"]


def test_changed_by_the_course_only(mine, course):
    write(course / LESSON, "x = 2")
    assert learn.refresh(mine, course) == learn.Refresh(updated=[LESSON])
    assert texts(mine / LESSON) == ["x = 2"]


def test_having_been_run_and_saved_is_not_a_change(mine, course):
    notebook = nbformat.read(mine / LESSON, 4)
    notebook.metadata["language_info"] = {"name": "python", "version": "3.12.1"}
    notebook.cells[1].outputs = [new_output("stream", text="mine")]
    notebook.cells[1].metadata["execution"] = {"shell.execute_reply": "now"}
    nbformat.write(notebook, mine / LESSON)
    write(course / LESSON, "x = 2")
    assert learn.refresh(mine, course) == learn.Refresh(updated=[LESSON])


@pytest.mark.parametrize("changed", ["text", "added", "removed", "kind"])
def test_any_change_of_cells_is_a_change(mine, course, changed):
    notebook = nbformat.read(mine / LESSON, 4)
    if changed == "text":
        notebook.cells[0].source += "!"
    elif changed == "added":
        notebook.cells.append(new_code_cell(""))
    elif changed == "removed":
        del notebook.cells[0]
    else:
        notebook.cells[0] = new_code_cell(notebook.cells[0].source)
    nbformat.write(notebook, mine / LESSON)
    kept = (mine / LESSON).read_bytes()
    write(course / LESSON, "x = 2")
    assert list(learn.refresh(mine, course).both) == [LESSON]
    assert (mine / LESSON).read_bytes() == kept


def test_changed_by_both_keeps_both_and_says_so(mine, course):
    write(mine / LESSON, "x = 'mine'")
    write(course / LESSON, "x = 2")
    report = learn.refresh(mine, course)
    beside = "01_lesson (new).ipynb"
    assert report == learn.Refresh(both={LESSON: beside})
    assert LESSON in str(report)
    assert beside in str(report)
    assert texts(mine / LESSON) == ["x = 'mine'"]
    assert texts(mine / beside) == ["x = 2"]
    assert learn.refresh(mine, course).kept == [LESSON], "said once, not at each refresh"


def test_changed_by_both_twice_keeps_all(mine, course):
    beside = [mine / f"01_lesson ({label}).ipynb" for label in ("new", "new 2")]
    write(mine / LESSON, "x = 'mine'")
    write(course / LESSON, "x = 2")
    learn.refresh(mine, course)
    write(beside[0], "x = 'worked here, too'")
    write(course / LESSON, "x = 3")
    assert learn.refresh(mine, course).both == {LESSON: beside[1].name}
    assert [texts(path) for path in (mine / LESSON, *beside)] == [
        ["x = 'mine'"], ["x = 'worked here, too'"], ["x = 3"],
    ]  # fmt: skip


def test_both_made_the_same_change(mine, course):
    for folder in (mine, course):
        write(folder / LESSON, "x = 2")
    assert learn.refresh(mine, course) == learn.Refresh()
    write(course / LESSON, "x = 3")
    assert learn.refresh(mine, course) == learn.Refresh(updated=[LESSON])


def test_a_deleted_notebook_comes_back_fresh(mine, course):
    (mine / LESSON).unlink()
    assert learn.refresh(mine, course) == learn.Refresh(new=[LESSON])
    assert texts(mine / LESSON) == ["x = 1"]


def test_a_new_lesson_arrives(mine, course):
    write(course / "02_lesson.ipynb", "y = 1")
    assert learn.refresh(mine, course) == learn.Refresh(new=["02_lesson.ipynb"])


@pytest.mark.parametrize("changed", [False, True])
def test_a_lesson_leaves_the_course(mine, course, changed):
    if changed:
        write(mine / LESSON, "x = 'mine'")
    (course / LESSON).unlink()
    expected = learn.Refresh(kept=[LESSON]) if changed else learn.Refresh(removed=[LESSON])
    assert learn.refresh(mine, course) == expected
    assert (mine / LESSON).exists() == changed


def test_a_file_of_the_learners_under_a_new_lessons_name_is_kept(mine, course):
    write(mine / "02_lesson.ipynb", "z = 'my own file'")
    write(course / "02_lesson.ipynb", "y = 1")
    report = learn.refresh(mine, course)
    assert report.both == {"02_lesson.ipynb": "02_lesson (new).ipynb"}
    assert texts(mine / "02_lesson.ipynb") == ["z = 'my own file'"]


def test_a_notebook_that_is_no_notebook_any_more_is_kept(mine, course):
    (mine / LESSON).write_text("half a noteb")
    write(course / LESSON, "x = 2")
    assert list(learn.refresh(mine, course).both) == [LESSON]
    assert (mine / LESSON).read_text() == "half a noteb"


def test_the_learners_own_files_are_left_alone(mine, course):
    (mine / "scratch").mkdir()
    (mine / "scratch" / "mine.pt").write_bytes(b"mine")
    write(mine / "my experiments.ipynb", "1 + 1")
    learn.refresh(mine, course)
    assert (mine / "scratch" / "mine.pt").exists()
    assert (mine / "my experiments.ipynb").exists()


def test_an_interrupted_refresh_is_finished_by_the_next(mine, course, monkeypatch):
    write(course / learn.FIRST_PAGE, "print('again')")
    write(course / LESSON, "x = 2")
    write_file = learn._write

    def dies(path, data):
        if path.name == LESSON:
            raise KeyboardInterrupt
        write_file(path, data)

    monkeypatch.setattr(learn, "_write", dies)
    with pytest.raises(KeyboardInterrupt):
        learn.refresh(mine, course)
    monkeypatch.undo()
    assert learn.refresh(mine, course) == learn.Refresh(updated=[LESSON])
    assert texts(mine / learn.FIRST_PAGE) == ["print('again')"]


@pytest.mark.parametrize("kind", ["foreign", "file", "inside", "no course"])
def test_refuses_what_is_no_place_for_a_copy(tmp_path, course, kind):
    target = tmp_path / "target"
    if kind == "foreign":
        target.mkdir()
        (target / "thesis.tex").write_text("years of work")
    elif kind == "file":
        target.write_text("a file")
    elif kind == "inside":
        target = course / "mine"
    else:
        shutil.rmtree(course)
    with pytest.raises((ValueError, FileNotFoundError), match=r"name a|clone|Clone"):
        learn.refresh(target, course)
    if kind == "foreign":
        assert [path.name for path in target.iterdir()] == ["thesis.tex"]


def test_the_command_makes_a_copy_of_the_course(tmp_path, capsys):
    assert main(["learn", "--no-open", str(tmp_path / "mine")]) == 0
    assert "new: " in capsys.readouterr().out
    for path in (tmp_path / "mine").rglob("*.ipynb"):
        for cell in nbformat.read(path, 4).cells:
            assert not cell.get("outputs"), f"{path.name}: an answer below a question"
    assert not list((tmp_path / "mine").rglob("source"))


def test_the_command_says_why_it_cannot(tmp_path, capsys):
    (tmp_path / "other").write_text("not a copy")
    assert main(["learn", "--no-open", str(tmp_path)]) == 1
    assert str(tmp_path) in capsys.readouterr().err


def test_a_learners_lab_finds_ckpt_and_hides_the_instructors_tools(tmp_path, monkeypatch):
    monkeypatch.setattr(subprocess, "call", lambda command, env: seen.append(env) or 0)
    seen = []
    assert learn.lab(tmp_path) == 0
    first = seen[0]["PATH"].split(os.pathsep)[0]
    assert first == os.path.dirname(sys.executable)
    shown = subprocess.run(
        [sys.executable, "-c", "from jupyterlab.commands import get_app_info; "
         "from jupyterlab_server.config import get_page_config; "
         "from jupyter_core.paths import jupyter_config_path, jupyter_path; "
         "import json; print(json.dumps(get_page_config("
         "jupyter_path('labextensions'), None).get('disabledExtensions')))"],
        env=seen[0], capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "@jupyter/nbgrader" in json.loads(shown.stdout.splitlines()[-1])
