"""Replacing a file: whole, with the right mode, and with errors that explain themselves."""

import errno
import os
import stat
from types import SimpleNamespace

import pytest

from course_utils.errors import CheckpointWriteError
from course_utils.files import durable
from course_utils.files.durable import write_atomically


def writing(data):
    return lambda file: file.write(data)


def fail(error):
    def write(file):
        file.write(b"half")
        raise error

    return write


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "file"
    write_atomically(path, writing(b"old"))
    return path


def test_writes_and_replaces(path):
    assert path.read_bytes() == b"old"
    write_atomically(path, writing(b"new"), size=3)
    assert path.read_bytes() == b"new"
    assert os.listdir(path.parent) == ["file"]


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt()])
def test_any_error_keeps_the_old_file_and_leaves_no_other(path, error):
    with pytest.raises(type(error)):
        write_atomically(path, fail(error))
    assert path.read_bytes() == b"old"
    assert os.listdir(path.parent) == ["file"]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.ENOSPC, r"full: 9,000 bytes needed, [\d,]+ bytes free"),
        (errno.EDQUOT, "quota"),
        (errno.EFBIG, "larger"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "permission"),
        (errno.EIO, "input/output"),
        (errno.ENETDOWN, "Network is down"),
    ],
)
def test_an_error_says_path_cause_and_that_the_old_file_stands(path, code, words):
    with pytest.raises(CheckpointWriteError, match=rf"(?s)/file: .*untouched.*{words}") as caught:
        write_atomically(path, fail(OSError(code, os.strerror(code))), size=9000)
    assert caught.value.__cause__.errno == code
    assert path.read_bytes() == b"old"


def test_names_that_cannot_be_written(path):
    for bad, words in [
        (path.parent / ("x" * 256), "too long"),
        (path.parent / "none" / "file", "no folder"),
        (path / "file", "no folder"),
        (path.parent, "is a folder"),
        ("/dev/null", "device"),
    ]:
        with pytest.raises(CheckpointWriteError, match=words):
            write_atomically(bad, writing(b"x"))
    assert not os.path.isfile("/dev/null")


def test_the_longest_possible_name(path):
    longest = path.parent / ("x" * 255)
    write_atomically(longest, writing(b"x"))
    assert longest.read_bytes() == b"x"


def test_a_link_is_followed(path):
    link = path.parent / "link"
    link.symlink_to("file")
    write_atomically(link, writing(b"new"))
    assert link.is_symlink()
    assert path.read_bytes() == b"new"


def test_the_mode_is_kept_and_otherwise_the_usual_one(path):
    usual = path.parent / "usual"
    usual.touch()
    assert path.stat().st_mode == usual.stat().st_mode
    path.chmod(0o640)
    write_atomically(path, writing(b"new"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_file_is_respected(path):
    path.chmod(0o444)
    with pytest.raises(CheckpointWriteError, match="permission"):
        write_atomically(path, writing(b"new"))


def test_the_steps_come_in_the_right_order(path, monkeypatch):
    steps = []

    def recording(name, function):
        def call(*arguments):
            steps.append(name)
            return function(*arguments)

        monkeypatch.setattr(durable.os, name, call)

    recording("fsync", os.fsync)
    recording("replace", os.replace)
    write_atomically(path, writing(b"new"))
    assert steps == ["fsync", "replace", "fsync"]


def test_only_dead_writers_files_are_removed(path):
    dead = path.parent / ".saving-0123456789abcdef.tmp"
    dead.write_bytes(b"half")

    def write(file):
        file.write(b"outer")
        write_atomically(path.parent / "inner", writing(b"inner"))

    write_atomically(path, write)
    assert path.read_bytes() == b"outer"
    assert sorted(os.listdir(path.parent)) == ["file", "inner"]


@pytest.mark.parametrize("refused", [None, errno.ENOTSUP, errno.EINVAL])
def test_on_macos_the_disk_itself_is_flushed(path, monkeypatch, refused):
    """A stand-in for macOS, whose fsync leaves the data in the disk's own memory."""
    flushed = []

    def fcntl(descriptor, command):
        assert command == 51
        if refused:
            raise OSError(refused, os.strerror(refused))
        flushed.append("full")

    monkeypatch.setattr(
        durable, "fcntl", SimpleNamespace(F_FULLFSYNC=51, fcntl=fcntl), raising=False
    )
    monkeypatch.setattr(os, "fsync", lambda _: flushed.append("fsync"))
    write_atomically(path, writing(b"new"))
    assert flushed == ["fsync" if refused else "full"] * 2


def test_an_error_of_the_disk_is_no_lack_of_the_system(path, monkeypatch):
    def fcntl(*_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(
        durable, "fcntl", SimpleNamespace(F_FULLFSYNC=51, fcntl=fcntl), raising=False
    )
    with pytest.raises(CheckpointWriteError, match="input/output"):
        write_atomically(path, writing(b"new"))
    assert path.read_bytes() == b"old"
