"""Which packages are installed, found out without importing them."""

import importlib.metadata
import importlib.util


def missing(*packages: str) -> list[str]:
    """Those of some packages that are not installed, in their order.

    Args:
        *packages: names as they are imported.

    Returns:
        Names.

    Example:

    >>> missing("keras", "no_such_package")
    ['no_such_package']
    """
    return [package for package in packages if not _is_installed(package)]


def check_torch() -> None:
    """Looks for what reads and writes checkpoints of PyTorch.

    Raises:
        ImportError: if it is not installed.
    """
    if missing("torch"):
        raise ImportError(
            "PyTorch checkpoints need PyTorch, whatever the Keras backend: "
            "pip install torch."
        )


def version_of(package: str) -> str | None:
    """The version of a package that is installed, or None.

    Args:
        package: name as it is installed; also of its builds for a CPU or GPU.

    Example:

    >>> version_of("no-such-package") is None
    True
    """
    for name in (package, f"{package}-cpu", f"{package}-gpu"):
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


def _is_installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ValueError:  # imported already, by means of its own
        return True
