"""The table of what torch lets a file import is torch's own."""

import torch
from torch import _weights_only_unpickler

from course_utils.formats.allowed import JUDGED_FOR, TORCH_ALLOWS


def test_the_table_is_what_the_installed_torch_allows():
    """Another version may allow more or less: then the table says nothing of it."""
    same = torch.__version__.startswith(f"{JUDGED_FOR}.")
    assert (set(_weights_only_unpickler._get_allowed_globals()) == TORCH_ALLOWS) or not same
    assert {"torch._utils._rebuild_tensor_v2", "collections.OrderedDict"} <= TORCH_ALLOWS
    assert not TORCH_ALLOWS & {"builtins.eval", "os.system", "builtins.getattr"}
