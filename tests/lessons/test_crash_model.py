"""The model knows what each step of the durable save is for."""

import pytest

from course_utils.lessons.crash_model import DURABLE, OVERWRITE, after_a_crash, after_all_steps


def without(step):
    return [other for other in DURABLE if other != step]


@pytest.mark.parametrize(
    ("steps", "during", "afterwards"),
    [
        (OVERWRITE, {"old", "torn", "new"}, {"old", "torn", "new"}),
        ([*OVERWRITE, "fsync file"], {"old", "torn", "new"}, {"new"}),
        (without("fsync file"), {"old", "torn", "new"}, {"torn", "new"}),
        (without("fsync folder"), {"old", "new"}, {"old", "new"}),
        (without("replace"), {"old"}, {"old"}),
        (DURABLE, {"old", "new"}, {"new"}),
        ([], {"old"}, {"old"}),
    ],
)
def test_what_a_power_cut_can_leave(steps, during, afterwards):
    assert after_a_crash(steps) == during
    assert after_all_steps(steps) == afterwards
