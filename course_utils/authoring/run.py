"""``python -m course_utils.authoring.run``: run the whole course as a learner would."""

import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from course_utils.authoring.notebooks import all_notebooks, execute, read
from course_utils.authoring.workers import Outcome, work


def main() -> int:
    """Run every notebook in a fresh kernel, print a table and return the exit status."""
    outcomes = work(_run, all_notebooks(), "Running")
    console = Console()
    console.print(_table(outcomes))
    for outcome in outcomes:
        if outcome.error:
            console.print(f"\n[bold]{outcome.name}[/bold]")
            console.print(outcome.error, markup=False, highlight=False)
    return 1 if any(outcome.error for outcome in outcomes) else 0


def _run(notebook: Path) -> None:
    execute(read(notebook), notebook.parent)


def _table(outcomes: list[Outcome]) -> Table:
    table = Table("lesson", "seconds", "status")
    table.columns[1].justify = "right"
    for outcome in outcomes:
        status = "[red]failed" if outcome.error else "[green]ok"
        table.add_row(outcome.name, f"{outcome.seconds:.1f}", status)
    return table


if __name__ == "__main__":
    sys.exit(main())
