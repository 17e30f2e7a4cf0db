"""What every lesson promises its readers, checked on sources and built notebooks."""

import ast
import re

import pytest

from course_utils.authoring.contents import LESSONS, bar, table
from course_utils.authoring.notebooks import NOTEBOOKS, SOURCES, all_notebooks, read
from course_utils.grading.exercise import all_exercises, load_exercise

TAUGHT = [lesson.slug for lesson in LESSONS]
NUMBERED = TAUGHT[1:]
DETAILS = re.compile(r"<details><summary>(.*?)</summary>(.*?)</details>", re.S)


def cells(slug, kind):
    return [cell for cell in read(NOTEBOOKS / f"{slug}.ipynb").cells if cell.cell_type == kind]


def predictions():
    for slug in TAUGHT:
        for cell in cells(slug, "markdown"):
            for part in cell.source.split("**Predict.**")[1:]:
                yield slug, part


@pytest.mark.parametrize(("slug", "text"), list(predictions()), ids=lambda value: value[:40])
def test_a_prediction_is_a_choice_with_a_reason_for_each_answer(slug, text):
    question, _, rest = text.partition("<details>")
    assert question.rstrip().endswith("?")
    options = DETAILS.findall(f"<details>{rest}")
    assert 3 <= len(options) <= 4
    for letter, (summary, reason) in zip("ABCD", options, strict=False):
        assert re.match(rf"{letter}\. \S", summary), summary
        assert "`" not in summary, "Markdown is not rendered there: use <code>"
        assert len(reason.split()) >= 4, f"say why: {summary}"
    assert sum(bool(re.search(r"\bRight\b", reason)) for _, reason in options) == 1


def test_no_question_gives_its_answer_away():
    found = [
        slug for slug in TAUGHT for cell in cells(slug, "markdown") if "Predict:" in cell.source
    ]
    assert not found


@pytest.mark.parametrize("slug", NUMBERED)
def test_a_lesson_begins_with_what_one_should_remember(slug):
    (cell,) = [c for c in cells(slug, "markdown") if c.source.startswith("**Do you remember?**")]
    questions = DETAILS.findall(cell.source)
    assert len(questions) == 3
    assert all("?" in question for question, _ in questions)


@pytest.mark.parametrize("slug", NUMBERED)
def test_every_section_offers_something_to_try(slug):
    text = "\n".join(cell.source for cell in cells(slug, "markdown"))
    for section in re.split(r"^## (?=\d+\. )", text, flags=re.M)[1:]:
        section = re.split(r"^## ", section, flags=re.M)[0]
        assert "**Try it:**" in section, section.splitlines()[0]


@pytest.mark.parametrize("slug", TAUGHT)
def test_no_line_says_only_true_or_false(slug):
    """Numbers teach, ``True`` does not. A table may say whether."""
    for cell in cells(slug, "code"):
        for output in cell.outputs:
            text = output.get("text", "")
            assert not re.search(r"(^|[:=] *)(True|False)$", text, re.M), f"{cell.source}\n{text}"


@pytest.mark.parametrize("slug", [*TAUGHT, "capstone"])
def test_no_printed_line_is_broken_within_a_word(slug):
    """At 1280 pixels JupyterLab shows 107 places, and goes on with the next letter below."""
    for cell in cells(slug, "code"):
        for output in cell.outputs:
            data = output.get("data", {})
            plain = "" if "text/html" in data else data.get("text/plain", "")
            for line in output.get("text", plain).splitlines():
                assert len(line) <= 107, f"{line}\nprint it with lesson.print_folded"


@pytest.mark.parametrize("slug", TAUGHT)
def test_code_that_draws_is_hidden(slug):
    for cell in cells(slug, "code"):
        draws = "plots.figure(" in cell.source or "diagrams." in cell.source.replace("import", "")
        assert draws == bool(cell.metadata.get("jupyter", {}).get("source_hidden")), cell.source


@pytest.mark.parametrize("slug", TAUGHT)
def test_no_cell_is_for_ci_only(slug):
    for cell in cells(slug, "code"):
        assert "noqa" not in cell.source
        body = ast.parse(cell.source).body
        assert not all(isinstance(line, ast.Assert) for line in body), cell.source


@pytest.mark.parametrize("slug", TAUGHT)
def test_scratch_is_emptied_at_the_end(slug):
    assert cells(slug, "code")[-1].source.endswith("lesson.finish(scratch)")


@pytest.mark.parametrize("notebook", all_notebooks(), ids=lambda path: path.stem)
def test_every_link_leads_somewhere(notebook):
    text = "\n".join(c.source for c in read(notebook).cells if c.cell_type == "markdown")
    headings = {
        re.sub(r"[^\w-]", "", h.replace(" ", "-")) for h in re.findall(r"^#+ (.+)$", text, re.M)
    }
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("#"):
            assert target[1:] in headings, target
        elif "://" not in target:
            path, _, _ = target.partition("#")
            assert (notebook.parent / path).exists(), target


@pytest.mark.parametrize("slug", TAUGHT)
def test_a_bar_leads_on_and_back(slug):
    first, last = cells(slug, "markdown")[0], cells(slug, "markdown")[-1]
    assert bar(slug) in first.source
    assert bar(slug) == last.source
    at = TAUGHT.index(slug)
    for neighbour in TAUGHT[max(0, at - 1) : at] + TAUGHT[at + 1 : at + 2]:
        assert f"({neighbour}.ipynb)" in last.source


def exercise_minutes():
    return {
        slug: sum(load_exercise(name).task.minutes for name in all_exercises(slug[:2]))
        for slug in TAUGHT
        if all_exercises(slug[:2])
    }


def test_times_stand_in_one_place():
    readme = (NOTEBOOKS.parent / "README.md").read_text(encoding="utf-8")
    assert table(exercise_minutes(), folder="notebooks/") in readme
    start = "\n".join(cell.source for cell in cells(TAUGHT[0], "markdown"))
    assert table(exercise_minutes()) in start
    for lesson in LESSONS:
        first = (SOURCES / f"{lesson.slug}.py").read_text(encoding="utf-8")
        assert f"**Time:** {lesson.minutes} minutes" in first, lesson.slug
