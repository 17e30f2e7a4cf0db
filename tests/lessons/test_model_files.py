"""Every kind of file gives the model back; the costs are those of the file."""

import pytest
import torch

from course_utils.lessons.model_files import KINDS, measure
from course_utils.lessons.models import MLP

# AOTInductor's compilation is in test_export.py.
QUICK = [kind for kind in KINDS if kind.name != "AOTInductor"]


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return MLP().eval()


@pytest.mark.parametrize("kind", QUICK, ids=lambda kind: kind.name)
def test_what_is_saved_is_what_is_loaded(kind, model, tmp_path):
    batch = torch.rand(4, 1, 8, 8)
    cost = measure(kind, model, MLP(), batch, tmp_path)
    with torch.no_grad():
        again = kind.load(tmp_path / kind.file, MLP())(batch)
        torch.testing.assert_close(again, model(batch), atol=1e-5, rtol=0)
    weights = sum(p.nbytes for p in model.parameters())
    assert weights < cost.bytes < 10 * weights
    assert min(cost.save, cost.load, cost.run) > 0


@pytest.mark.parametrize("kind", QUICK, ids=lambda kind: kind.name)
def test_who_needs_the_class_takes_the_weights_into_the_new_model(kind, model, tmp_path):
    new = MLP()
    measure(kind, model, new, torch.rand(4, 1, 8, 8), tmp_path)
    assert torch.equal(new.head.weight, model.head.weight) == kind.needs_class


def test_files_do_not_overwrite_each_other():
    assert len({kind.file for kind in KINDS}) == len(KINDS) == 6
