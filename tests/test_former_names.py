"""What README, lessons and other people's programs imported before the move still works."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from course_utils import former_names

NAMES = former_names.todays_names()
# Modules that became wings: their public functions and classes, as they were.
WINGS = {
    "anatomy": "summarize read_archive read_tensors Span byte_map Archive read_record",
    "checkpoint": "AsyncCheckpointer CheckpointManager load_checkpoint save_checkpoint",
    "resume": "TrainState Stateful",
    "partial": "plan_partial_load LoadPlan",
    "devices": "empty_parameters load_into_meta move_optimizer resolve_map_location "
    "storage_locations",
    "safety": "audit load_untrusted Audit LIMIT",
    "distributed": "ShardedRun save_sharded AsyncSaver load_sharded load_sharded_model",
}
# What class folders and graders of others import from grading: their public names, as they were.
GRADING = {
    "grader": "Result UngradableCellError checked_exercise close_sandboxes digest from_json grade "
    "grade_id to_json write_outputs",
    "inside.frames": "PipeClosedError receive send split",
    "mutants": "Mutant mutants survivors",
    "pages": "safe_markdown",
    "plain": "MAX_BYTES PlainDataError pack unpack",
    "recording": "SandboxedGrade Results",
    "sandbox": "Cell Limits Record Sandbox",
    "sheets": "check_line lesson_title lessons sheet task_text",
    "submission": "MAX_BYTES NOTE UnreadableSubmissionError clean refuse",
}


@pytest.mark.parametrize("former", sorted(NAMES))
def test_a_former_name_is_the_module_itself(former):
    moved, today = importlib.import_module(former), importlib.import_module(NAMES[former])
    assert moved is today
    assert today.__spec__.name == NAMES[former]


@pytest.mark.parametrize("wing", sorted(WINGS))
def test_a_wing_has_the_names_of_the_module_it_was(wing):
    module = importlib.import_module(f"course_utils.{wing}")
    assert set(WINGS[wing].split()) <= set(module.__all__)
    assert [name for name in module.__all__ if not hasattr(module, name)] == []


@pytest.mark.parametrize("former", sorted(GRADING))
def test_grading_has_the_names_it_had(former):
    module = importlib.import_module(f"course_utils.grading.{former}")
    assert [name for name in GRADING[former].split() if not hasattr(module, name)] == []


def test_a_former_name_is_found_first_by_a_fresh_process():
    program = (
        "from course_utils import plots, rng\n"
        "import course_utils.compare as compare\n"
        "from course_utils.resume.compare import differences\n"
        "assert compare.differences is differences\n"
        "from course_utils.grading.inside.frames import split\n"
        "from course_utils.grading.sandbox.inside import frames\n"
        "assert frames.split is split"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_a_name_that_never_was_is_refused():
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("course_utils.nonsense")


def test_the_list_is_short_and_all_of_its_wings_exist():
    source = Path(former_names.__file__).read_text()
    assert len(source.splitlines()) <= 60
    ast.parse(source)
