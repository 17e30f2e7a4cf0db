"""The course's table of contents: order, titles and times, in this place only.

README, the start page and the lessons are checked against it by a test.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Lesson:
    """A page of the course.

    Attributes:
        slug: the name of its notebook.
        title: as other pages call it.
        learn: what one learns there, as a part of a sentence.
        minutes: to read it, run it and think about the predictions; exercises not counted.
    """

    slug: str
    title: str
    learn: str
    minutes: int


LESSONS = [
    Lesson("00_start_here", "00 Start here",
           "the map, an environment check, and a run killed and resumed", 10),
    Lesson("01_state_dict_anatomy", "01 state_dict anatomy",
           "what a checkpoint file holds, byte by byte", 45),
    Lesson("02_checkpoint_and_resume", "02 Checkpoint and resume",
           "to stop a run anywhere and continue it exactly", 55),
    Lesson("03_partial_loading", "03 Partial loading",
           "to load the part that fits: transfer learning", 45),
    Lesson("04_map_location", "04 map_location",
           "to load a GPU's file on a laptop, and a large file in little memory", 40),
    Lesson("05_torchscript", "05 TorchScript (legacy)",
           "to run a model from C++, without Python", 45),
    Lesson("06_untrusted_files", "06 Files you should not trust",
           "what a file can do to you, and how to look first", 40),
    Lesson("07_checkpoints_that_survive", "07 Checkpoints that survive",
           "to save through crashes and full disks, fast", 45),
    Lesson("08_many_processes", "08 Many processes",
           "to save from several processes and load into another number", 50),
    Lesson("09_after_torchscript", "09 After TorchScript",
           "which format to choose today", 50),
    Lesson("10_your_frameworks_checkpoint", "10 Your framework's checkpoint",
           "what frameworks save, and whether their runs resume", 40),
]  # fmt: skip
CONTENTS = LESSONS[0]


def bar(slug: str, *, up: str = "") -> str:
    """Return the line with previous, contents and next, in Markdown; a page beside the way has
    only the contents.

    Args:
        slug: of the lesson the page is, or belongs to.
        up: what leads from the page to the lessons, such as ``"../"``.
    """
    slugs = [lesson.slug for lesson in LESSONS]
    links = [f"[contents]({up}{CONTENTS.slug}.ipynb)"]
    if slug in slugs:
        at = slugs.index(slug)
        # An exercise sheet lies between its lesson and the next one.
        before = LESSONS[at] if up else LESSONS[at - 1] if at else None
        after = LESSONS[at + 1] if at + 1 < len(LESSONS) else None
        links = [
            *([f"← [{before.title}]({up}{before.slug}.ipynb)"] if before else []),
            *(links if slug != CONTENTS.slug else []),
            *([f"[{after.title}]({up}{after.slug}.ipynb) →"] if after else []),
        ]
    return " · ".join(links)


def table(exercise_minutes: dict[str, int], *, folder: str = "") -> str:
    """Return the table of README and the start page, in Markdown.

    Args:
        exercise_minutes: the sum of a lesson's exercises, by slug.
        folder: what leads to the notebooks from the page, such as ``"notebooks/"``.
    """
    lines = ["| lesson | you learn | minutes | exercises, minutes |", "|---|---|---|---|"]
    for lesson in LESSONS:
        link = f"[{lesson.title}]({folder}{lesson.slug}.ipynb)"
        minutes = exercise_minutes.get(lesson.slug)
        sheet = f"[{minutes}]({folder}exercises/{lesson.slug}.ipynb)" if minutes else ""
        lines.append(f"| {link} | {lesson.learn} | {lesson.minutes} | {sheet} |")
    total = sum(lesson.minutes for lesson in LESSONS)
    lines.append(f"| together | | {total} | {sum(exercise_minutes.values())} |")
    return "\n".join(lines)
