"""Locks: who holds a file, what a forked child does not hold, and systems that have none."""

import errno
import fcntl
import os
import threading

import pytest

from course_utils.files import locks
from course_utils.files.locks import Hold, lock_alone, lock_shared, nobody_holds, open_to_lock


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"content")
    return path


def test_who_holds_a_file(path):
    assert nobody_holds(path) is True
    with Hold(path) as hold:
        assert hold.works
        assert nobody_holds(path) is False
        assert hold.alone() is True
        with open(path, "rb") as reader:
            assert lock_shared(reader) is False
    assert hold.closed
    assert nobody_holds(path) is True
    assert nobody_holds(path.with_name("none")) is False


def test_a_hold_waits_for_a_look(path):
    """A look takes the lock for a moment; going without would leave the file unprotected."""
    with open_to_lock(path) as look:
        assert lock_alone(look)
        threading.Timer(0.1, look.close).start()
        with Hold(path):
            assert nobody_holds(path) is False


def test_but_not_for_ever(path, monkeypatch):
    monkeypatch.setattr(locks, "PATIENCE", 3)
    with open_to_lock(path) as stuck:
        assert lock_alone(stuck)
        assert Hold(path).works


def in_child(function):
    """Run a function in a forked child and return whether it said yes."""
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if function() else 1)
        finally:
            os._exit(2)
    return os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize("locked", [Hold, open_to_lock], ids=["hold", "file"])
def test_a_forked_child_holds_nothing(path, locked):
    """It lives on after the parent has let go, as the workers of a DataLoader do."""
    file = locked(path)
    lock_shared(file)
    (wait, done), (ready, began) = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        os.close(done)
        os.write(began, b".")
        os.read(wait, 1)
        os._exit(0)
    try:
        os.read(ready, 1)
        assert nobody_holds(path) is False
        file.close()
        assert nobody_holds(path) is True
    finally:
        os.close(done)
        os.waitpid(child, 0)


def test_in_the_child_the_number_stays_taken(path):
    """Else the child's next file would get it, and be closed in the place of the lock."""
    hold = Hold(path)

    def child():
        other = os.open(path, os.O_RDONLY)
        hold.close()
        return os.read(other, 7) == b"content"

    assert in_child(child)
    assert nobody_holds(path) is False


def test_a_lock_taken_by_a_child_is_its_own(path):
    assert in_child(lambda: lock_alone(open_to_lock(path)))


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_without_locks_the_answer_is_neither_yes_nor_no(path, monkeypatch, code):
    def flock(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", flock)
    assert nobody_holds(path) is None
    assert Hold(path).works is False
    assert Hold(path).alone() is None


def test_a_lock_alone_needs_a_file_open_for_writing(path, monkeypatch):
    """On NFS."""
    monkeypatch.setattr(fcntl, "flock", nfs_flock(fcntl.flock))
    assert nobody_holds(path) is True
    assert Hold(path.parent).alone() is None


def nfs_flock(real):
    def flock(descriptor, kind):
        access = fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE
        if kind & fcntl.LOCK_EX and access == os.O_RDONLY:
            raise OSError(errno.EBADF, "Bad file descriptor")
        return real(descriptor, kind)

    return flock


def test_a_file_that_cannot_be_opened_counts_as_held(path, monkeypatch):
    def denied(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(locks, "open", denied, raising=False)
    assert nobody_holds(path) is False
