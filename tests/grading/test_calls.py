"""System calls are seen and refused by the kernel, however a program makes them."""

import errno
import os

import pytest

from course_utils.grading.exercise import Exercise, Watch
from course_utils.grading.sandbox.home import apart
from course_utils.grading.sandbox.inside import calls

pytestmark = pytest.mark.skipif(not calls.can_watch(), reason="this kernel shows no system calls")


def seen(answer, fails=""):
    probe = Exercise("x", *[None] * 2, lambda answer, question: answer(), *[None] * 5)
    outcome = apart(probe, answer, None, Watch(calls="needed", fails=fails, files=True))
    assert outcome.status == "ran", outcome.error
    return outcome


def save(sync):
    with open("x.tmp", "wb") as file:
        file.write(b"12345")
        file.flush()
        sync(file.fileno())
    os.replace("x.tmp", "x")
    folder = os.open(".", os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)


def libc(name):
    import ctypes

    return getattr(ctypes.CDLL(None, use_errno=True), name)


@pytest.mark.parametrize("sync", [os.fsync, os.fdatasync, lambda fd: libc("fsync")(fd)])
def test_the_order_of_a_save_is_seen(sync):
    outcome = seen(lambda: save(sync))
    assert outcome.calls == ("fsync file 5", "replace", "fsync folder")
    assert outcome.left == {"x": b"12345"}


def test_a_path_is_read_wherever_it_lies_in_memory():
    import ctypes

    def everywhere():
        buffer = ctypes.create_string_buffer(8192)
        page = 4096 - ctypes.addressof(buffer) % 4096
        for place in range(page - 6, page + 1):
            ctypes.memmove(ctypes.addressof(buffer) + place, b"folder\0", 7)
            address = ctypes.c_void_p(ctypes.addressof(buffer) + place)
            libc("mkdir")(address, 0o700)

    assert seen(everywhere).calls == ("mkdir folder",) * 7


def test_other_ways_to_sync_are_seen():
    def others():
        os.close(os.open("a", os.O_CREAT | os.O_WRONLY | os.O_SYNC))
        os.close(os.open("b", os.O_CREAT | os.O_WRONLY))
        os.sync()

    assert seen(others).calls == ("open synchronous", "sync")


def test_a_move_from_another_folder_is_seen(tmp_path):
    def moves():
        (tmp_path / "y").write_text("y")
        os.rename(tmp_path / "y", "y")

    assert seen(moves).calls == ("replace from another folder",)


def test_a_folder_is_seen_with_its_name_and_by_whichever_process():
    def in_a_child():
        if os.fork() == 0:
            libc("mkdir")(b"made", 0o700)
            os._exit(0)
        os.wait()

    outcome = seen(in_a_child)
    assert outcome.calls == ("mkdir made",)
    assert outcome.left == {"made": None}


@pytest.mark.parametrize(
    ("fails", "call", "number"),
    [
        ("fsync", lambda: os.fsync(os.open(".", os.O_RDONLY)), errno.ENOSPC),
        ("replace", lambda: os.rename("a", "b"), errno.EIO),
    ],
)
def test_a_call_is_refused_by_the_kernel(fails, call, number):
    def tries():
        try:
            call()
        except OSError as error:
            return error.errno
        return 0

    assert seen(tries, fails).data == number


def test_no_call_is_left_waiting():
    def many():
        for _ in range(200):
            os.mkdir("z")
            os.rmdir("z")

    assert seen(many).calls == ("mkdir z",) * 200
