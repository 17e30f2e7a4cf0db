"""Say what to install where a package is missing: the library comes without torch and Jupyter."""

from importlib.util import find_spec


def require(extra: str, *packages: str) -> None:
    """Check that packages are there, without importing them; a wing asks before its own imports.

    Args:
        extra: of ``pyproject.toml``, the one that brings the packages.
        packages: as they are imported, ``"torch"`` for example.

    Raises:
        ImportError: one of them is missing; it says which, and what to install.
    """
    for package in packages:
        if not _is_there(package):
            raise ImportError(
                f"{package} is not installed, and this part of course_utils needs it. "
                f"To get it: pip install 'course-utils[{extra}]'",
                name=package,
            )


def _is_there(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ImportError:  # from an import hook that forbids it
        return False
