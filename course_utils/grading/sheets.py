"""``python -m course_utils.grading.sheets``: write the exercise notebooks' sources.

The text of an exercise stands in its module only; these files are made from it.
"""

import re
import sys
from pathlib import Path

from course_utils.grading.exercise import Exercise, all_exercises, load_exercise

SOURCES = Path(__file__).resolve().parents[2] / "notebooks" / "source"


def lessons() -> list[str]:
    """Return the slugs of the lessons that have exercises, such as ``"03_partial_loading"``."""
    numbers = {exercise_id[:2] for exercise_id in all_exercises()}
    return sorted(path.stem for path in SOURCES.glob("*.py") if path.stem[:2] in numbers)


def sheet(slug: str) -> str:
    """Return the percent-format source of one lesson's exercise notebook."""
    exercises = [load_exercise(exercise_id) for exercise_id in all_exercises(slug[:2])]
    cells = [
        _introduction(slug, exercises),
        "# %%\nfrom course_utils.grading import check, solution\n",
    ]
    for exercise in exercises:
        cells += [_markdown(task_text(exercise)), f"# %%\n{exercise.task.starter.strip()}\n"]
        cells += [f"# %%\n{check_line(exercise)}\n"]
    cells.append(_markdown(f"Back to [the lesson](../{slug}.ipynb)."))
    return "\n".join(cells)


def task_text(exercise: Exercise) -> str:
    """Return the text above an exercise, in Markdown."""
    task = exercise.task
    head = f"## {exercise.id} {task.title}\n\n*{task.difficulty}, {task.minutes} minutes*\n\n"
    return head + task.text.strip()


def check_line(exercise: Exercise) -> str:
    """Return the code that checks an exercise."""
    return f'check("{exercise.id}", {exercise.task.answer})'


def lesson_title(slug: str) -> str:
    """Return a lesson's title, from its source."""
    first = re.search(r"^# # (.+)$", (SOURCES / f"{slug}.py").read_text(encoding="utf-8"), re.M)
    return first.group(1) if first else slug


def _introduction(slug: str, exercises: list[Exercise]) -> str:
    minutes = sum(exercise.task.minutes for exercise in exercises)
    return _markdown(
        f"# Exercises: {lesson_title(slug)}\n\n"
        "Write your answer in the cell below each task and run it, then run the cell with\n"
        "`check`. It says *correct*, *not attempted yet*, or *wrong* with what was tried, what\n"
        "was expected and what came. Each new mistake earns one more hint. If you give up,\n"
        f'`solution("{exercises[0].id}")` in a cell of your own shows the answer.\n\n'
        f"**Time:** {minutes} minutes. **Needs:** [the lesson](../{slug}.ipynb)."
    )


def _markdown(text: str) -> str:
    return "# %% [markdown]\n" + "\n".join(f"# {line}".rstrip() for line in text.split("\n")) + "\n"


def main() -> int:
    """Write the source of every lesson's exercises; return the exit status."""
    for slug in lessons():
        target = SOURCES / "exercises" / f"{slug}.py"
        target.parent.mkdir(exist_ok=True)
        text = sheet(slug)
        if not target.exists() or target.read_text(encoding="utf-8") != text:
            target.write_text(text, encoding="utf-8")
            print(f"wrote {target.relative_to(SOURCES.parents[1])}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
