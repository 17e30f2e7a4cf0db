"""The learner's copy of the course: made, refreshed, and never written over.

Outputs are cleared, so that no answer stands below an open question, and what learners have no
use for (sources, tests, instructors' files) stays behind. The copy is a folder of its own: git
does not see it, and opening a notebook changes nothing of the course.

What was handed out last is noted in ``.course.json``. A notebook counts as changed by the
learner when the text of a cell changed, a cell came or went; having been run is not work.
"""

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import nbformat

COURSE = Path(__file__).resolve().parents[2] / "notebooks"
DEFAULT = COURSE.parent / "my-course"
FIRST_PAGE = "00_start_here.ipynb"
HANDED_OUT = ("*.ipynb", "exercises/*.ipynb", "data/*")
NOTES = ".course.json"


@dataclass
class Refresh:
    """What making or refreshing a copy did, by file name.

    Attributes:
        new: files that were not there, or had been deleted to get them anew.
        updated: files that changed in the course and not in the copy.
        kept: files the learner changed and the course did not.
        both: files that both changed: the learner's stays, the course's stands beside it.
            From the file's name to the name of the course's version.
        removed: files that left the course and that the learner had not changed.
    """

    new: list[str] = field(default_factory=list)
    updated: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    both: dict[str, str] = field(default_factory=dict)
    removed: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [f"new: {len(self.new)}", f"updated: {len(self.updated)}"]
        lines += [f"yours, kept: {name}" for name in self.kept]
        lines += [
            f"changed by you and by the course: {name}\n"
            f"  yours is untouched; the course's new version is {beside}"
            for name, beside in self.both.items()
        ]
        lines += [f"no longer in the course, removed: {name}" for name in self.removed]
        return "\n".join(lines)


def refresh(folder: Path = DEFAULT, course: Path = COURSE) -> Refresh:
    """Make the learner's copy in a folder, or bring it up to date without touching work.

    Args:
        folder: of the copy; made if it is not there.
        course: the course's notebooks.

    Raises:
        FileNotFoundError: the course's notebooks are not there, as in an installed wheel.
        ValueError: the folder holds files and is not a learner's copy, or is the course's own.
    """
    if not (course / FIRST_PAGE).exists():
        raise FileNotFoundError(
            f"{course}: no notebooks here. Clone the course, and install it with pip install -e ."
        )
    notes = _read_notes(folder, course)
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / ".gitignore", b"*\n")  # of whichever repository the folder lies in
    upstream = {name: _handed_out(course / name) for name in _names(course)}
    report = Refresh()
    for name, data in upstream.items():
        notes[name] = _hand_out(folder, name, data, notes.get(name), report)
    for name in sorted(notes.keys() - upstream.keys()):
        _take_back(folder, name, notes.pop(name), report)
    _write(folder / NOTES, json.dumps(notes, indent=1).encode())
    return report


def lab(folder: Path) -> int:
    """Open JupyterLab on a learner's copy; return its exit status when it is closed."""
    command = [sys.executable, "-m", "jupyterlab", f"--notebook-dir={folder}"]
    return subprocess.call([*command, str(folder / FIRST_PAGE)], env=environment())


def environment() -> dict[str, str]:
    """Return the environment of a learner's JupyterLab: ``ckpt`` is found, nbgrader is not."""
    settings = Path(__file__).with_name("jupyter")
    paths = {"PATH": str(Path(sys.executable).parent), "JUPYTER_CONFIG_PATH": str(settings)}
    for name, first in paths.items():
        paths[name] = os.pathsep.join(filter(None, (first, os.environ.get(name))))
    return {**os.environ, **paths}


def _names(course: Path) -> list[str]:
    found = (path for pattern in HANDED_OUT for path in course.glob(pattern) if path.is_file())
    return sorted(path.relative_to(course).as_posix() for path in found)


def _handed_out(path: Path) -> bytes:
    """Return a file as learners get it: a notebook without outputs, another file as it is."""
    if path.suffix != ".ipynb":
        return path.read_bytes()
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.execution_count, cell.outputs = None, []
    return (nbformat.writes(notebook) + "\n").encode()


def _hand_out(
    folder: Path, name: str, data: bytes, base: str | None, report: Refresh
) -> str | None:
    """Bring one file up to date; return the fingerprint of what the learner now starts from."""
    target, offered = folder / name, fingerprint(name, data)
    if not target.exists():
        _write(target, data)
        report.new.append(name)
        return offered
    mine = fingerprint(name, target.read_bytes())
    if mine == offered:
        return offered
    if mine == base:
        _write(target, data)
        report.updated.append(name)
    elif offered == base:
        report.kept.append(name)
    else:
        report.both[name] = _write_beside(target, data).relative_to(folder).as_posix()
    return offered


def _write_beside(target: Path, data: bytes) -> Path:
    """Write the course's version under the first free name; an older one may hold work, too."""
    number = 1
    while True:
        label = "new" if number == 1 else f"new {number}"
        beside = target.with_name(f"{target.stem} ({label}){target.suffix}")
        if not beside.exists():
            _write(beside, data)
            return beside
        if fingerprint(beside.name, beside.read_bytes()) == fingerprint(target.name, data):
            return beside
        number += 1


def _take_back(folder: Path, name: str, base: str | None, report: Refresh) -> None:
    target = folder / name
    if not target.exists():
        return
    if fingerprint(name, target.read_bytes()) == base:
        target.unlink()
        report.removed.append(name)
    else:
        report.kept.append(name)


def fingerprint(name: str, data: bytes) -> str:
    """Return what identifies a file's content: of a notebook its cells' texts, in order.

    JupyterLab rewrites metadata, ids and outputs when it opens, runs or saves a notebook.
    A notebook that cannot be read is taken as it is, and so counts as changed.
    """
    if name.endswith(".ipynb"):
        try:
            cells = nbformat.reads(data.decode(), as_version=4).cells
            data = json.dumps(
                [[cell.cell_type, cell.source, cell.get("attachments")] for cell in cells]
            ).encode()
        except (ValueError, AttributeError, nbformat.ValidationError):
            pass
    return hashlib.sha256(data).hexdigest()


def _read_notes(folder: Path, course: Path) -> dict[str, str | None]:
    if folder.resolve().is_relative_to(course.resolve()):
        raise ValueError(f"{folder} lies in the course itself: name another folder")
    if (folder / NOTES).exists():
        notes: dict[str, str | None] = json.loads((folder / NOTES).read_text(encoding="utf-8"))
        return notes
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file: name a folder")
    if folder.exists() and any(path.name != ".gitignore" for path in folder.iterdir()):
        raise ValueError(f"{folder} holds files that are not a copy of the course: name another")
    return {}


def _write(path: Path, data: bytes) -> None:
    """Write a file at once: a refresh that is interrupted leaves no half notebook."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_bytes(data)
    os.replace(temporary, path)
