"""How a class did: by exercise, the success rate, the commonest mistake, and how well it tells."""

import html
import io
import statistics
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from course_utils.files.durable import write_atomically
from course_utils.grading.classroom.alike import Group, groups, handed_in
from course_utils.grading.classroom.course import Course
from course_utils.grading.classroom.gradebook import Graded, Key, read_gradebook
from course_utils.grading.classroom.recording import Results
from course_utils.grading.classroom.rows import label

FEW = 5  # students, below which a correlation says nothing


@dataclass(frozen=True)
class Item:
    """One exercise in a class.

    Attributes:
        name: its id.
        students: how many have handed in its lesson.
        solved: the part of them with all points.
        mean: the mean part of its points.
        discrimination: the correlation of its points with those of the rest of the lesson; None
            where too few have handed in, or all have the same.
        mistake: the commonest message about it, and how often it came.
    """

    name: str
    students: int
    solved: float
    mean: float
    discrimination: float | None
    mistake: str


def items(graded: dict[Key, Graded], mistakes: dict[str, Counter[str]]) -> list[Item]:
    """Return the statistics of every graded cell.

    Args:
        graded: from `read_gradebook`.
        mistakes: by exercise, how often each message came.
    """
    parts: dict[str, list[tuple[float, float]]] = {}
    for one in graded.values():
        total = sum(points.score for points in one.points)
        for points in one.points:
            part = points.score / points.max_score if points.max_score else 0.0
            parts.setdefault(label(points.name), []).append((part, total - points.score))
    return [
        _item(name, pairs, mistakes.get(name, Counter())) for name, pairs in sorted(parts.items())
    ]


def write_statistics(course: Course) -> Path:
    """Write ``statistics.html`` into the course folder; return where."""
    found = items(read_gradebook(course), _mistakes(Results(course.root)))
    data = _page(found, groups(handed_in(course))).encode()
    path = course.root / "statistics.html"
    write_atomically(path, lambda file: file.write(data))
    return path


def _item(name: str, pairs: list[tuple[float, float]], mistakes: Counter[str]) -> Item:
    own, rest = zip(*pairs, strict=True)
    tells = len(pairs) >= FEW and len(set(own)) > 1 and len(set(rest)) > 1
    common = mistakes.most_common(1)
    return Item(
        name,
        len(pairs),
        sum(part >= 1 for part in own) / len(own),
        statistics.fmean(own),
        statistics.correlation(own, rest) if tells else None,
        f"{common[0][0]} ({common[0][1]} times)" if common else "",
    )


def _mistakes(results: Results) -> dict[str, Counter[str]]:
    """Count the messages of all results that are kept; each student's work once."""
    found: dict[str, Counter[str]] = {}
    for result in results.all():
        for exercise_id, report in result.reports.items():
            lines = report.splitlines()
            if len(lines) > 1 and ": wrong" in lines[0]:
                found.setdefault(exercise_id, Counter())[lines[1].strip()[:200]] += 1
    return found


def _page(found: list[Item], alike: list[Group]) -> str:
    rows = "".join(f"<tr>{_cells(item)}</tr>" for item in found)
    return (
        "<!DOCTYPE html><meta charset='utf-8'><title>Statistics</title>"
        "<style>body{font-family:sans-serif;max-width:70em;margin:auto}td,th{padding:4px 10px;"
        "text-align:left;border-bottom:1px solid #ddd}</style><h1>How the class did</h1>"
        f"{_plot(found)}<table><tr><th>exercise</th><th>handed in</th><th>solved</th>"
        "<th>mean of the points</th><th>discrimination</th><th>commonest mistake</th></tr>"
        f"{rows}</table><p>Discrimination: the correlation of an exercise's points with those of "
        f"the rest of its lesson, from {FEW} students on. Near 0 or below, look at it.</p>"
        f"{_groups(alike)}"
    )


def _groups(alike: list[Group]) -> str:
    if not alike:
        return ""
    lines = "".join(
        f"<li>{html.escape(f'{group.exercise}: ' + ', '.join(group.students))}</li>"
        for group in alike
    )
    return (
        "<h2>Answers that are alike</h2><p>But for names, comments and layout. This proves "
        f"nothing: some tasks have one natural answer. Read them.</p><ul>{lines}</ul>"
    )


def _cells(item: Item) -> str:
    tells = "" if item.discrimination is None else f"{item.discrimination:.2f}"
    numbers = [str(item.students), f"{item.solved:.0%}", f"{item.mean:.0%}"]
    texts = [item.name, *numbers, tells, item.mistake]
    return "".join(f"<td>{html.escape(text)}</td>" for text in texts)


def _plot(found: list[Item]) -> str:
    """Return a bar for each exercise, as SVG."""
    if not found:
        return ""
    figure = Figure(figsize=(10, 3), layout="constrained")
    axes = figure.subplots()
    names = [item.name for item in found]
    axes.bar(names, [item.mean for item in found], color="#BBD3E8", label="mean of the points")
    axes.bar(names, [item.solved for item in found], color="#2F6EA5", width=0.4, label="solved")
    axes.set_ylim(0, 1)
    axes.tick_params(axis="x", rotation=90)
    axes.legend()
    file = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "statistics"}):
        figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue().partition("<svg")[1] + file.getvalue().partition("<svg")[2]
