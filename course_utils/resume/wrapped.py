"""Modules inside wrappers, and the names that wrappers change."""

from collections.abc import Collection

from torch import nn

from course_utils.partial.names import WRAPPERS


def unwrapped(module: nn.Module) -> nn.Module:
    """Return the module inside `torch.compile`, DistributedDataParallel or DataParallel."""
    while True:
        if isinstance(module, nn.parallel.DistributedDataParallel | nn.DataParallel):
            module = module.module
        elif isinstance(inner := getattr(module, "_orig_mod", None), nn.Module):
            module = inner
        else:
            return module


def matched(theirs: Collection[str], mine: Collection[str]) -> dict[str, str]:
    """Pair names that are equal but for what wrappers add.

    Args:
        theirs: names from a checkpoint.
        mine: names in this process.

    Returns:
        From each of ``theirs`` to the one of ``mine``, where there is one.
    """
    mine_by_bare, theirs_by_bare = _bare(mine), _bare(theirs)
    if len(mine_by_bare) < len(mine) or len(theirs_by_bare) < len(theirs):
        return {name: name for name in theirs if name in set(mine)}
    return {
        name: mine_by_bare[bare] for bare, name in theirs_by_bare.items() if bare in mine_by_bare
    }


def without_wrappers(name: str) -> str:
    """Return a parameter's name without what wrappers inside its module add."""
    first, *rest = name.split(".")
    return ".".join([first, *(part for part in rest if part not in WRAPPERS)])


def _bare(names: Collection[str]) -> dict[str, str]:
    """Each name by itself without wrappers: in front of all of them, or inside."""
    cut = min((_wrappers_before(name.split(".")) for name in names), default=0)
    return {without_wrappers(".".join(name.split(".")[cut:])): name for name in names}


def _wrappers_before(parts: list[str]) -> int:
    return next((i for i, part in enumerate(parts) if part not in WRAPPERS), len(parts))
