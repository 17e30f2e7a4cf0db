import subprocess
import sys
import warnings

import pytest

from course_utils.lessons import lesson


def test_an_error_is_printed_whole(capsys):
    message = "first line " + "word " * 40 + "\n\nlast line"
    with lesson.expect_error(ValueError, match="line"):
        raise ValueError(message)
    assert capsys.readouterr().out.split() == ["ValueError:", *message.split()]


def test_a_key_error_is_printed_as_it_was_written(capsys):
    with lesson.expect_error(KeyError):
        raise KeyError("one\ntwo")
    assert capsys.readouterr().out == "KeyError: one\ntwo\n"


def test_cpp_frames_colours_and_this_machines_folder_are_left_out(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with lesson.expect_error(RuntimeError):
        frames = "Exception raised from f at x.cpp:1\nframe #0: g"
        raise RuntimeError(f"\x1b[31m{tmp_path}/x.pt\x1b[0m is cut\n{frames}")
    assert capsys.readouterr().out == "RuntimeError: x.pt is cut\n"


@pytest.mark.parametrize("wrong", [None, KeyError("x"), ValueError("other")])
def test_another_error_or_none_is_an_error(wrong):
    def run():
        with lesson.expect_error(ValueError, match="this"):
            if wrong:
                raise wrong

    with pytest.raises((AssertionError, KeyError)):
        run()


def test_warnings_are_printed_whole(capsys):
    with lesson.show_warnings():
        warnings.warn("the file is damaged " * 10, stacklevel=1)
    assert capsys.readouterr().out.split() == [
        "UserWarning:",
        *(["the", "file", "is", "damaged"] * 10),
    ]


def test_a_folded_text_breaks_between_words(capsys):
    lesson.print_folded("one two three\n  four", width=8)
    assert capsys.readouterr().out == "one two\n  three\n  four\n"


def test_fresh_removes_what_a_cell_wrote_before(tmp_path):
    folder = lesson.fresh(tmp_path / "run")
    assert folder == tmp_path / "run"
    (folder / "step").mkdir(parents=True)
    assert not lesson.fresh(folder).exists()
    folder.write_text("a file now")
    assert not lesson.fresh(folder).exists()


def test_code_scrolls_and_its_text_is_kept():
    code = lesson.Code("def f():\n    return 1 < 2\n", "a.module")
    assert repr(code) == "a.module\n\ndef f():\n    return 1 < 2"
    shown = code._repr_html_()
    assert "overflow-x:auto" in shown
    assert "white-space:pre;" in shown
    assert "&lt;" in shown


def test_a_finished_lesson_leaves_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    scratch = lesson.start("99_test")
    (scratch / "large.pt").write_bytes(b"1234")
    lesson.finish(scratch)
    assert not scratch.exists()
    assert "99_test" in capsys.readouterr().out


SHOWN = """
import sys
from course_utils.lessons import lesson

module = "course_utils.lessons.frameworks.with_lightning"
lesson.show_source_of(module, "WholeEpochs", "train")
sys.exit(module in sys.modules)
"""


def test_code_of_a_module_that_is_not_imported():
    done = subprocess.run([sys.executable, "-c", SHOWN], capture_output=True, text=True, check=True)
    assert "class WholeEpochs(ResumableSampler):" in done.stdout
    assert "trainer.fit(module, loader, ckpt_path=path)" in done.stdout
    assert "class Place" not in done.stdout
