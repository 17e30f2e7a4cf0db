"""The seam to nbgrader: our grader in the place of its kernel."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nbformat import NotebookNode
from nbgrader.preprocessors import NbGraderPreprocessor
from traitlets import Unicode

from course_utils.files.durable import write_atomically
from course_utils.grading.classroom.grader import (
    Result,
    digest,
    from_json,
    grade,
    to_json,
    write_outputs,
)
from course_utils.grading.sandbox import Limits


class SandboxedGrade(NbGraderPreprocessor):
    """Stands where nbgrader's ``Execute`` stood: no kernel runs, a sandbox did.

    A result that `make grade` has kept is used; where there is none, as when formgrader's
    autograde button is pressed, the notebook is graded here and now.
    """

    course = Unicode("", help="the course folder").tag(config=True)

    def preprocess(
        self, nb: NotebookNode, resources: dict[str, Any]
    ) -> tuple[NotebookNode, dict[str, Any]]:
        """Write the outputs that SaveAutoGrades turns into points."""
        results = Results(Path(self.course))
        result = results.find(nb)
        if result is None:
            result = grade(nb, results.seed, results.limits)
            results.keep(nb, result)
        write_outputs(nb, result)
        return nb, resources


class Results:
    """The results kept in a course folder: a run that died does not grade anything twice.

    Args:
        course: the course folder, which holds the secret seed.
        limits: of the sandboxes; by default those of the run before.
    """

    def __init__(self, course: Path, limits: Limits | None = None) -> None:
        self.folder = course / "results"
        self.folder.mkdir(exist_ok=True)
        self.seed = int((course / "secret_seed").read_text())
        kept = self.folder / "limits"
        if limits is None:
            limits = Limits(**json.loads(kept.read_text())) if kept.exists() else Limits()
        text = json.dumps(asdict(limits))
        if not kept.exists() or kept.read_text() != text:
            write_atomically(kept, lambda file: file.write(text.encode()))
        self.limits = limits

    def find(self, notebook: NotebookNode) -> Result | None:
        """Return what is known about a notebook with these cells."""
        path = self._path(notebook)
        return from_json(path.read_text(encoding="utf-8")) if path.exists() else None

    def keep(self, notebook: NotebookNode, result: Result) -> None:
        """Keep a result, whole or not at all."""
        data = to_json(result).encode("utf-8", "replace")
        write_atomically(self._path(notebook), lambda file: file.write(data))

    def all(self) -> list[Result]:
        """Return all results of the notebooks that the gradebook holds now."""
        marks = self.folder.glob("names/*/*")
        paths = {self.folder / f"{mark.read_text()}.json" for mark in marks}
        return [from_json(p.read_text(encoding="utf-8")) for p in sorted(paths) if p.exists()]

    def name(self, notebook: NotebookNode) -> str:
        """Return what a result is kept under: it changes with all that decides it."""
        return digest(notebook, self.seed, self.limits)

    def _path(self, notebook: NotebookNode) -> Path:
        return self.folder / f"{self.name(notebook)}.json"
