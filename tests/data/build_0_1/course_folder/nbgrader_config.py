"""nbgrader's configuration of this course; its manual lists all options."""

from pathlib import Path

c = get_config()  # noqa: F821
c.CourseDirectory.root = str(Path(__file__).resolve().parent)
c.CourseDirectory.course_id = "saving_and_loading"
c.SandboxedGrade.course = c.CourseDirectory.root
# c.CourseDirectory.db_url = "postgresql://…"    # instead of gradebook.db

# Starters are written as students get them, so no solution needs to be cut out.
c.GenerateAssignment.preprocessors = [
    "nbgrader.preprocessors.IncludeHeaderFooter",
    "nbgrader.preprocessors.LockCells",
    "nbgrader.preprocessors.ClearOutput",
    "nbgrader.preprocessors.CheckCellMetadata",
    "nbgrader.preprocessors.ComputeChecksums",
    "nbgrader.preprocessors.SaveCells",
    "nbgrader.preprocessors.CheckCellMetadata",
]
# No kernel: the sandbox runs the notebook, the judge outside decides.
c.Autograde.autograde_preprocessors = [
    "course_utils.grading.recording.SandboxedGrade",
    "nbgrader.preprocessors.IgnorePattern",
    "nbconvert.preprocessors.ClearMetadataPreprocessor",
    "nbgrader.preprocessors.LimitOutput",
    "nbgrader.preprocessors.SaveAutoGrades",
    "nbgrader.preprocessors.AssignLatePenalties",
    "nbgrader.preprocessors.CheckCellMetadata",
]
# What students write in Markdown must not run in the instructor's browser.
c.HTMLExporter.filters = {"markdown2html": "course_utils.grading.pages.safe_markdown"}
