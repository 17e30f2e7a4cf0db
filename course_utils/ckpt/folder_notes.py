"""What ``ckpt inspect`` says of a folder's files, and of where the weights are."""

from typing import Any

from course_utils.ckpt.parts import find_parts
from course_utils.ckpt.report import counted
from course_utils.formats.contents import Contents
from course_utils.formats.folder_kinds import DISTRIBUTED
from course_utils.formats.source import Window

MOST = 20  # files of which each has a line


def files_of(contents: Contents, most: int | None = None) -> list[dict[str, Any]]:
    """Return the files of a folder, each with its size and what loading it would mean.

    Args:
        contents: the folder; a file has none.
        most: look at so many of them; None for all.
    """
    if contents.kind == DISTRIBUTED or not contents.files:
        return []
    from course_utils.formats.evidence import Evidence
    from course_utils.formats.readings import inspect

    files = []
    for file in contents.files[:most]:
        evidence = Evidence()
        inspect(Window(file.source), "", evidence)
        files.append(
            {
                "name": str(file.path.relative_to(contents.path)),
                "kind": file.kind,
                "bytes": file.source.size,
                "tensors": len(file.tensors),
                "loading": evidence.verdict.value,
                "reasons": sorted({finding.reason for finding in evidence.findings}),
            }
        )
    return files


def file_notes(contents: Contents) -> list[str]:
    """Return lines about a folder's files, and what does not fit in it."""
    lines = [f"mind: {oddity}" for oddity in contents.oddities]
    for file in files_of(contents, MOST):
        line = f"{file['name']}: {counted(file['tensors'], 'tensor')}, {file['loading']}"
        reasons = "; ".join(file["reasons"][:3])
        lines.append(f"{line}: {reasons}" if reasons else line)
    if contents.kind != DISTRIBUTED and len(contents.files) > MOST:
        lines.append(f"… and {len(contents.files) - MOST:,} more files")
    return lines


def where_weights_are(contents: Contents) -> list[str]:
    """Return a line that names the keys under which weights stand, if they are not the whole."""
    paths = [path for path in find_parts(contents).weights if path]
    if not paths or len(paths) > 5:
        return []
    return [f"weights under: {', '.join(paths)} (`ckpt convert --key {paths[0]}` takes them alone)"]
