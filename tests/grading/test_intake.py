"""Whatever a folder of submissions holds, everybody in it is taken in, or named with the reason."""

import io
import json
import os
import unicodedata
import zipfile

import pytest
from nbformat.v4 import new_code_cell, new_notebook

from course_utils.grading.classroom import intake as intake_module
from course_utils.grading.classroom.course import Course
from course_utils.grading.classroom.intake import identify, safe_name, take_in
from course_utils.grading.classroom.layouts import Person
from course_utils.grading.classroom.release import assignment
from course_utils.grading.classroom.submission import MAX_BYTES, NOTE, clean, without_controls

SLUGS = ["01_state_dict_anatomy", "03_partial_loading"]
LESSON = SLUGS[1]


@pytest.fixture(scope="module")
def released():
    return {slug: assignment(slug) for slug in SLUGS}


@pytest.fixture
def course(tmp_path, released, monkeypatch):
    monkeypatch.setattr(Course, "lessons", lambda self: SLUGS)
    monkeypatch.setattr(Course, "released", lambda self, slug: released[slug])
    monkeypatch.setattr(Course, "roster", lambda self: {})
    return Course.open(tmp_path / "course")


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "submissions"
    path.mkdir()
    return path


def notebook(released, mark="mine", slug=LESSON):
    """A released notebook with a cell that can be recognized."""
    copy = json.loads(json.dumps(released[slug]))
    copy["cells"].append(new_code_cell(f"'{mark}'"))
    return json.dumps(copy).encode()


def put(folder, name, data):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def zipped(**files):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, content in files.items():
            archive.writestr(name.replace("__", "/"), content)
    return data.getvalue()


def marks(taken):
    return [s.notebook.cells[-1].source.strip("'") for s in taken]


NAMES = {
    "as released": f"anna/{LESSON}.ipynb",
    "nbgrader": f"anna/{LESSON}/{LESSON}.ipynb",
    "downloaded twice": f"anna/{LESSON} (1).ipynb",
    "upper case": f"anna/{LESSON.upper()}.IPYNB",
    "own name": "anna/My homework, final.ipynb",
    "deeper": f"anna/week 3/desktop/{LESSON}.ipynb",
    "Canvas": f"anna_12345_678901_{LESSON}.ipynb",
    "Canvas, late": f"anna_LATE_12345_678901_{LESSON}-2.ipynb",
    "Moodle, flat": f"anna_991_assignsubmission_file_{LESSON}.ipynb",
    "Moodle, folders": f"anna_991_assignsubmission_file_/{LESSON}.ipynb",
    "exchange": f"anna+{LESSON}+2026-01-02 03:04:05.6 UTC+abc/{LESSON}.ipynb",
    "name and lesson": f"anna_{LESSON}.ipynb",
    "name alone": "anna.ipynb",
}


@pytest.mark.parametrize("layout", NAMES)
def test_a_notebook_is_found_wherever_it_lies(course, folder, released, layout):
    put(folder, NAMES[layout], notebook(released))
    intake = take_in(course, folder)
    assert [(s.student, s.slug) for s in intake.taken] == [("anna", LESSON)]
    assert marks(intake.taken) == ["mine"]
    assert course.submitted("anna", LESSON).exists()


@pytest.mark.parametrize("layout", NAMES)
def test_a_zip_archive_of_all_is_taken_like_the_folder(course, tmp_path, released, layout):
    path = tmp_path / "all.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(NAMES[layout], notebook(released))
    intake = take_in(course, path)
    assert [(s.student, s.slug) for s in intake.taken] == [("anna", LESSON)]


@pytest.mark.parametrize("layout", ["Canvas", "Canvas, late", "Moodle, flat", "Moodle, folders"])
def test_a_platforms_archive_among_others_is_nobodys(course, folder, released, layout):
    """Two of them, one for each lesson: of each only one notebook would have counted."""
    put(folder, "lesson 3.zip", zipped(**{NAMES[layout].replace("/", "__"): notebook(released)}))
    put(folder, "bo.zip", zipped(work=b"", **{"work.ipynb": notebook(released)}))
    intake = take_in(course, folder)
    assert [s.student for s in intake.taken] == ["bo"]
    assert "grade it alone" in intake.nobodys["lesson 3.zip"]


def test_archives_of_a_student_are_looked_into(course, folder, released):
    inside = {"week__work.ipynb": notebook(released), "__MACOSX__._work.ipynb": b"junk"}
    put(folder, "anna/all.zip", zipped(**inside))
    put(folder, "bo.zip", zipped(**inside))
    intake = take_in(course, folder)
    assert [s.student for s in intake.taken] == ["anna", "bo"]
    assert marks(intake.taken) == ["mine", "mine"]


def test_the_content_says_which_lesson_it_is(course, folder, released):
    put(folder, f"anna/{LESSON}.ipynb", notebook(released, slug=SLUGS[0]))
    assert [s.slug for s in take_in(course, folder).taken] == [SLUGS[0]]


def test_of_several_attempts_the_newest_counts_and_the_table_says_so(course, folder, released):
    old = put(folder, f"anna/b/{LESSON}.ipynb", notebook(released, "old"))
    new = put(folder, f"anna/a/{LESSON}.ipynb", notebook(released, "new"))
    os.utime(old, (1000, 1000))
    os.utime(new, (2000, 2000))
    for number in (1, 2):
        name = f"bo_12345_{number}_{LESSON}-{number}.ipynb"
        put(folder, name, notebook(released, f"attempt {number}"))
    taken = take_in(course, folder).taken
    assert marks(taken) == ["new", "attempt 2"]
    assert taken[0].notes == (
        f"Of 2 attempts the newest counts: a/{LESSON}.ipynb; not b/{LESSON}.ipynb.",
    )


NOTHING = {
    "empty": ([], "the folder is empty"),
    "text": (["essay.txt"], "only essay.txt"),
    "many": ([f"{i}.png" for i in range(5)], "only 0.png, 1.png, 2.png and 2 more"),
    "other": (["other.ipynb"], "no exercise of this course"),
    "rar": (["work.rar"], "only work.rar"),
    "bad zip": (["work.zip"], "the archive cannot be read"),
}


@pytest.mark.parametrize("name", NOTHING)
def test_who_has_no_notebook_is_named_with_the_reason(course, folder, released, name):
    files, reason = NOTHING[name]
    (folder / name).mkdir()
    for file in files:
        data = json.dumps(new_notebook()).encode() if file == "other.ipynb" else b"x"
        put(folder, f"{name}/{file}", data)
    put(folder, f"anna/{LESSON}.ipynb", notebook(released))
    intake = take_in(course, folder)
    assert [s.student for s in intake.taken] == ["anna"]
    assert reason in " ".join(intake.reasons[name])


def test_what_is_nobodys_is_named(course, folder, released):
    put(folder, f"{LESSON}.ipynb", notebook(released))
    put(folder, "index.html", b"Moodle writes one")
    intake = take_in(course, folder)
    assert intake.taken == []
    assert list(intake.nobodys) == [f"{LESSON}.ipynb"]


def test_an_empty_folder_and_none_are_errors(course, folder):
    with pytest.raises(FileNotFoundError, match="nothing in it"):
        take_in(course, folder)
    with pytest.raises(FileNotFoundError, match="no such folder"):
        take_in(course, folder / "none")


def test_names_that_become_equal_stay_two_students(course, folder, released):
    composed, split = (unicodedata.normalize(form, "zoé") for form in ("NFC", "NFD"))
    for name in (composed, split, f"{composed}-2", "alice", "alice ", "a\N{ZERO WIDTH SPACE}lice"):
        put(folder, f"{name}/{LESSON}.ipynb", notebook(released, name))
    taken = {
        s.student: s.notebook.cells[-1].source.strip("'") for s in take_in(course, folder).taken
    }
    assert len(taken) == 6
    assert taken[composed] == composed
    assert taken[f"{composed}-2"] == f"{composed}-2"
    assert taken["alice"] == "alice"


def test_nobody_takes_anothers_name_whatever_comes_later():
    people = [Person("a b"), Person("a/b"), Person("a_b"), Person("a?b")]
    names = identify(people, {})
    assert names[Person("a_b")] == "a_b"
    assert len(set(names.values())) == 4
    assert identify([*people[1:], Person("zz")], {})[Person("a?b")] == names[Person("a?b")]


def test_the_roster_says_who_is_meant():
    roster = {"al815": {"al815", "Ada Lovelace", "lovelaceada", "12345"}}
    for person in (Person("Ada  LOVELACE"), Person("lovelaceada", "12345"), Person("x", "12345")):
        assert identify([person], roster) == {person: "al815"}
    two = [Person("Ada Lovelace", "1"), Person("ada lovelace", "2")]
    assert sorted(identify(two, {}).values()) == ["Ada Lovelace", "ada lovelace"]


@pytest.mark.parametrize("name", ["\U0001d160" * 60, "a" * 300, "孔" * 90, ".", "..", "/", "\x00"])
def test_any_name_becomes_one_that_the_disk_takes(name, tmp_path):
    safe = safe_name(name)
    assert 0 < len(safe.encode()) <= 100
    (tmp_path / safe).mkdir()
    assert [p.name for p in tmp_path.iterdir()] == [safe]


def test_long_names_that_begin_alike_stay_apart():
    assert safe_name("a" * 200) != safe_name("a" * 201)


def test_tricks_with_files_touch_nobody_else(course, folder, released):
    honest = put(folder, f"anna/{LESSON}.ipynb", notebook(released))
    for name in ("dirlink", "fifo", "link", "tsdir"):
        (folder / name).mkdir()
    (folder / "hard").mkdir()
    os.link(honest, folder / "hard" / f"{LESSON}.ipynb")
    os.symlink(honest.parent, folder / "dirlink" / LESSON)
    os.symlink(honest, folder / "link" / f"{LESSON}.ipynb")
    os.mkfifo(folder / "fifo" / f"{LESSON}.ipynb")
    os.symlink(honest.parent, folder / "studentlink")
    put(folder, f"tsdir/{LESSON}.ipynb", notebook(released))
    (folder / "tsdir" / "timestamp.txt").mkdir()
    intake = take_in(course, folder)
    taken = {s.student: s for s in intake.taken}
    assert taken["anna"].notes == ()
    assert "the very file of anna" in taken["hard"].notes[0]
    for name in ("fifo", "link"):
        assert "could not be graded" in " ".join(taken[name].notes)
    assert "links are not followed" in intake.reasons["studentlink"][0]
    assert "no notebook is in the folder" in intake.reasons["dirlink"][0]
    assert set(taken) | set(intake.reasons) == {p.name for p in folder.iterdir()}


def test_one_notebook_that_cannot_be_cleaned_stops_nobody(course, folder, released, monkeypatch):
    def odd(data, original):
        if b"odd" in data:
            raise RuntimeError("never seen before")
        return clean(data, original)

    monkeypatch.setattr(intake_module, "clean", odd)
    for name in ("anna", "odd"):
        put(folder, f"{name}/{LESSON}.ipynb", notebook(released, name))
    taken = take_in(course, folder).taken
    assert marks(taken[:1]) == ["anna"]
    assert "RuntimeError" in taken[1].notes[0]


def test_a_time_that_a_student_wrote_is_not_believed(course, folder, released):
    put(folder, f"anna/{LESSON}/{LESSON}.ipynb", notebook(released))
    put(folder, f"anna/{LESSON}/timestamp.txt", b"2020-01-01 00:00:00 UTC")
    assert take_in(course, folder).taken[0].arrived == ""
    assert not (course.submitted("anna", LESSON).parent / "timestamp.txt").exists()


@pytest.mark.parametrize(
    ("text", "arrived"),
    [
        ("2026-01-02 03:04:05.678 UTC", "2026-01-02 03:04:05.678000 UTC"),
        ("2026-01-02 03:04:05 +02:00", "2026-01-02 01:04:05.000000 UTC"),
        ("0001-01-01 00:00:00 +14:00", ""),
        ("9999-12-31 23:59:59 -14:00", ""),
        ("soon", ""),
    ],
)
def test_the_time_that_the_exchange_wrote_is_kept(course, released, text, arrived):
    submitted = course.root / "submitted"
    put(submitted, f"anna/{LESSON}/{LESSON}.ipynb", notebook(released))
    time = put(submitted, f"anna/{LESSON}/timestamp.txt", text.encode())
    for _ in range(2):
        assert take_in(course, submitted).taken[0].arrived == arrived
        assert (time.read_text() if time.exists() else "") == arrived


def test_the_exchanges_folder_names_say_when(course, folder, released):
    for day in (1, 2):
        name = f"anna+{LESSON}+2026-01-0{day} 03:04:05.6 UTC+r/{LESSON}.ipynb"
        put(folder, name, notebook(released, f"day {day}"))
    taken = take_in(course, folder).taken
    assert marks(taken) == ["day 2"]
    assert taken[0].arrived.startswith("2026-01-02")


def test_a_zip_bomb_costs_one_file(course, folder, released):
    put(folder, "anna/bomb.zip", zipped(**{f"{LESSON}.ipynb": bytes(MAX_BYTES + 10)}))
    taken = take_in(course, folder).taken
    assert "larger than 20 MB" in taken[0].notes[-1]


def test_a_note_that_a_student_wrote_is_not_the_graders(released):
    copy = json.loads(json.dumps(released[LESSON]))
    forged = {"cell_type": "markdown", "metadata": {}, "source": f"{NOTE}\n\n10 / 10, Prof. X"}
    copy["cells"].insert(0, forged)
    cleaned, notes = clean(json.dumps(copy).encode(), released[LESSON])
    assert notes == []
    assert cleaned.cells[0].source.startswith("*Written in the notebook, not by the grader:*")


def test_what_a_terminal_would_obey_is_taken_out():
    text = "\x1b[38;5;999mred\x1b[9999999999999m \x1b]0;title\x07 \x9b31m\x1b(B\x0c\x00\ud800\tok\n"
    assert without_controls(text) == "red  \ufffd\ufffd?\tok\n"
