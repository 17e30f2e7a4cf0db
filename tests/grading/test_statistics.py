"""What a page on a class says is what the gradebook holds."""

from collections import Counter
from pathlib import Path

from course_utils.grading.classroom.alike import Group, groups
from course_utils.grading.classroom.gradebook import Graded, Points
from course_utils.grading.classroom.statistics import _page, items

ROOT = Path(__file__).parents[2]


def student(*scores):
    names = ("check_01_1", "check_01_2")
    points = [Points(name, score, 2.0, score, None, False)
              for name, score in zip(names, scores, strict=True)]  # fmt: skip
    return Graded(points=points)


def test_an_exercise_is_described_by_rates_and_by_how_well_it_tells():
    scores = [(2, 2), (2, 2), (1, 0), (0, 0), (0, 0)]
    graded = {(f"s{i}", "01"): student(*pair) for i, pair in enumerate(scores)}
    mistakes = {"01.1": Counter({"one": 2, "other": 1})}
    first, second = items(graded, mistakes)
    assert (first.name, first.students, first.solved, first.mean) == ("01.1", 5, 0.4, 0.5)
    assert first.mistake == "one (2 times)"
    assert 0.9 < first.discrimination < 1
    assert second.mistake == ""


def test_too_few_and_equal_students_say_nothing_of_it():
    few = {(f"s{i}", "01"): student(i, i) for i in range(3)}
    equal = {(f"s{i}", "01"): student(1, i % 3) for i in range(9)}
    assert [item.discrimination for item in items(few, {})] == [None, None]
    assert [item.discrimination for item in items(equal, {})] == [None, None]


def test_the_page_shows_messages_as_text():
    graded = {("s", "01"): student(0, 2)}
    page = _page(items(graded, {"01.1": Counter({"<script>alert(1)</script>": 1})}), [])
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert page.count("<svg") == 1
    assert _page([], []).count("<tr>") == 1


def test_answers_that_differ_in_names_and_layout_alone_are_a_group():
    code = (ROOT / "course_utils/grading/solutions/ex_07_3.py").read_text()
    renamed = "# mine\n" + code.replace("measured", "mm").replace("newest", "latest")
    other = code.replace("reverse=True", "reverse=False")
    short = "def f(x):\n    return sorted(x)\n"
    answers = {
        **{(name, "07.3"): text for name, text in
           {"a": code, "b": renamed, "c": other, "d": "def f(:", "e": ""}.items()},
        ("a", "01.1"): short, ("b", "01.1"): short,
    }  # fmt: skip
    assert groups(answers) == [Group("07.3", ("a", "b"))]
    page = _page([], [Group("07.3", ("a", "<b>"))])
    assert "07.3: a, &lt;b&gt;" in page
    assert "proves nothing" in page
