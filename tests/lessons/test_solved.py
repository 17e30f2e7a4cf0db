import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

from course_utils.grading import check
from course_utils.lessons.solved import progress


def write(folder, *texts):
    """Two exercises whose checks said these texts; an empty text: not run."""
    cells = [new_code_cell("from course_utils.grading import check")]
    for number, text in enumerate(texts, start=1):
        outputs = [new_output("execute_result", {"text/plain": text})] if text else []
        cells.append(new_code_cell(f'check("03.{number}", answer)', outputs=outputs))
    (folder / "exercises").mkdir()
    nbformat.write(new_notebook(cells=cells), folder / "exercises" / "03_partial_loading.ipynb")
    return progress(folder)


def test_correct_counts_and_nothing_else_does(tmp_path):
    texts = ("03.1: correct", "03.2: wrong", "03.3: not attempted yet", "", "03.1: correct")
    shown = write(tmp_path, *texts)
    assert shown.sheets[0].solved == {"03.1"}
    assert "1 of 5" in repr(shown)
    assert shown.next_step == "next: 03.2, in exercises/03_partial_loading.ipynb"


@pytest.mark.parametrize(("texts", "step"), [((), "no exercises"), (("03.1: correct",), "all sol")])
def test_the_end_of_the_way(tmp_path, texts, step):
    assert write(tmp_path, *texts).next_step.startswith(step)


def test_what_check_says_is_what_is_looked_for():
    report = check("01.1", lambda module: sorted(module.state_dict()))
    assert repr(report).startswith("01.1: correct")
