"""The table of what torch lets a file import is torch's own."""

import pytest
import torch
from torch import _weights_only_unpickler

from course_utils.formats.allowed import JUDGED_FOR, TORCH_ALLOWS, VERSIONS, allowed

INSTALLED = ".".join(torch.__version__.split(".")[:2])


@pytest.mark.skipif(
    INSTALLED not in VERSIONS, reason=f"torch {INSTALLED} is not in the table: nothing is claimed"
)
def test_the_table_is_what_the_installed_torch_allows():
    assert allowed(INSTALLED) == set(_weights_only_unpickler._get_allowed_globals())


def test_what_is_judged_by_default():
    assert allowed(JUDGED_FOR) == TORCH_ALLOWS
    assert {"torch._utils._rebuild_tensor_v2", "collections.OrderedDict"} <= TORCH_ALLOWS
    assert not TORCH_ALLOWS & {"builtins.eval", "os.system", "builtins.getattr"}


def test_versions_differ_and_an_unknown_one_is_refused():
    assert allowed("2.14") - allowed("2.15") == {"torch._utils._rebuild_nested_tensor"}
    assert allowed("2.14") - allowed("2.13") == {"torch.bcomplex32"}
    with pytest.raises(KeyError):
        allowed("9.9")
