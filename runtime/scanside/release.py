"""Which scanside this is."""

from __future__ import annotations

__all__ = ["release"]


def release() -> str:
    """Return the installed version, or that there is none."""
    # Imported here: it costs a tenth of a cold start.
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("scanside")
    except PackageNotFoundError:
        return "unknown: run from its source, not installed"
