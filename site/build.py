"""Builds the course's site into ``build/site``, without a network once its parts are there.

Nothing is executed: pages are made of the notebooks as they were built. ``make site`` runs this.
"""

import html
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
from accessible import repair
from bundle import bundle
from nbformat import NotebookNode
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import CppLexer, PythonLexer

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
SOURCE, OUT = ROOT / "build" / "site-source", ROOT / "build" / "site"
PAGES = ("CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "AGENTS.md", "docs/ckpt-json.md")
PREDICTION = "**Predict.**"
# Lessons that lead to the explorer, and the file that is open there.
EXPLORED = {"01_state_dict_anatomy.ipynb": "weights.pt", "06_untrusted_files.ipynb": "stranger.pt"}


def main() -> int:
    """Build the site; return Sphinx's exit status."""
    from course_utils.lessons import learn

    for folder in (SOURCE, OUT):
        shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(
        HERE,
        SOURCE,
        ignore=shutil.ignore_patterns("*.py", "explorer", "__pycache__", "node_modules", "*.json"),
    )
    shutil.copy(HERE / "conf.py", SOURCE)
    for name in PAGES:
        copy_page(name)
    learn.refresh(SOURCE / "download")  # as learners get them: no outputs
    for path in sorted((ROOT / "notebooks").rglob("*.ipynb")):
        if path.parent.name in ("notebooks", "exercises"):
            copy_notebook(path)
    copy_page("notebooks/INSTRUCTORS.md")
    status = run_sphinx()
    if status == 0:
        repair(OUT)
        bundle(OUT / "explorer")
    return status


def run_sphinx() -> int:
    """Write the pages; a warning is an error."""
    command = [sys.executable, "-m", "sphinx", "-b", "html", "-j", "2", "-q", "-W", "--keep-going"]
    command += ["-d", str(SOURCE / ".doctrees")]
    return subprocess.run([*command, str(SOURCE), str(OUT)], check=False).returncode


def copy_page(name: str) -> None:
    """Copy a page of the repository, to the place that its links expect."""
    text = (ROOT / name).read_text(encoding="utf-8")
    target = SOURCE / name
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, encoding="utf-8")


def copy_notebook(path: Path) -> None:
    """Copy an executed notebook: answers below open questions folded, with a link to its file."""
    notebook = nbformat.read(path, as_version=4)
    fold_answers(notebook)
    leave_colours_to_the_theme(notebook)
    lower_anchors(notebook)
    name = path.relative_to(ROOT / "notebooks").as_posix()
    up = "../" * (1 + name.count("/"))
    add_links(notebook, f"{up}download/{name}", EXPLORED.get(name))
    target = SOURCE / "notebooks" / name
    target.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, target)


def fold_answers(notebook: NotebookNode) -> int:
    """Fold the outputs of the cells that follow a prediction, up to the next text.

    Returns:
        How many cells it folded.
    """
    folded, asked = 0, False
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            asked = PREDICTION in cell.source
        elif asked and cell.get("outputs"):
            cell.metadata.setdefault("tags", []).append("hide-output")
            folded += 1
    return folded


def leave_colours_to_the_theme(notebook: NotebookNode) -> None:
    """Highlight anew the code that a lesson shows as a light card, which blinds in a dark page."""
    for cell in notebook.cells:
        for data in [output.data for output in cell.get("outputs", ()) if "data" in output]:
            if 'class="highlight" style' not in data.get("text/html", ""):
                continue
            source, _, code = data["text/plain"].partition("\n\n")  # what `lesson.Code` prints
            lexer = PythonLexer() if source.startswith("course_utils.") else CppLexer()
            shown = highlight(code, lexer, HtmlFormatter())
            data["text/html"] = f"<div><code>{html.escape(source)}</code>{shown}</div>"


def lower_anchors(notebook: NotebookNode) -> None:
    """Spell links to a heading as Sphinx does, in small letters; Jupyter keeps them as they are."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = re.sub(r"\.ipynb#[^)]+\)", lambda found: found[0].lower(), cell.source)


def add_links(notebook: NotebookNode, file: str, example: str | None) -> None:
    """Add below the title a link to the notebook itself, and one to an example in the explorer."""
    first = notebook.cells[0]
    links = f"{{download}}`Download this notebook <{file}>`"
    if example:
        address = f"../explorer/index.html?example={example}"
        links += f' · <a href="{address}">Look into such a file in your browser</a>'
    first.source = re.sub(r"\A(# .*\n)", rf"\1\n{links}\n", first.source, count=1)


if __name__ == "__main__":
    sys.exit(main())
