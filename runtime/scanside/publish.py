"""A bundle at its place: written beside it, verified in every precision, and only then moved."""

from __future__ import annotations

import hashlib
import os
import tempfile
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scanside.bundle import open_bundle, write_bundle
from scanside.errors import OutputError, ParityError, UsageError
from scanside.pipeline import Pipeline
from scanside.verification import verify
from scanside.writers.files import output_errors

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scanside.bundle import Bundle
    from scanside.contract import Manifest, Precision

__all__ = ["check_free", "created", "facts", "publish"]


def facts(name: str, content: bytes) -> dict[str, Any]:
    """Return what a manifest says of every file: its name, sha256 and size in bytes."""
    return {"file": name, "sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}


def created() -> str:
    """Return the time in UTC, or SOURCE_DATE_EPOCH where it is set.

    Raises
    ------
    UsageError
        If SOURCE_DATE_EPOCH is no number of seconds.

    References
    ----------
    https://reproducible-builds.org/specs/source-date-epoch/
    """
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    if not epoch:
        return datetime.now(timezone.utc).replace(microsecond=0).isoformat()
    try:
        return datetime.fromtimestamp(int(epoch), timezone.utc).isoformat()
    except (ValueError, OverflowError, OSError):
        raise UsageError(
            f"SOURCE_DATE_EPOCH is {epoch!r}", accepted="whole seconds since 1970-01-01 UTC"
        ) from None


def check_free(path: Path) -> None:
    """Refuse a place where nothing new can be written, before any work is done.

    Raises
    ------
    OutputError
        If it exists, or its folder can't be written to.
    """
    if path.exists() or path.is_symlink():
        raise OutputError(
            f"{path} exists already",
            accepted="a path that is free",
            remedy="remove it, or name another --output",
        )
    with output_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass


def publish(destination: Path, manifest: Manifest, files: Mapping[str, bytes]) -> Bundle:
    """Write a bundle, verify every precision on this machine's CPU, and move it to its place.

    Parameters
    ----------
    destination
        A folder or a ``.zip`` that does not exist.
    manifest, files
        What the bundle declares, and the content of its files by name.

    Raises
    ------
    OutputError
        If the destination exists or can't be written.
    ParityError
        If the bundle does not pass its own golden slices. Nothing is left behind.
    """
    check_free(destination)
    with (
        output_errors(destination),
        tempfile.TemporaryDirectory(
            dir=destination.parent, prefix=f".{destination.name}."
        ) as scratch,
    ):
        bundle = write_bundle(Path(scratch) / destination.name, manifest, files)
        for precision in bundle.manifest.precisions:
            _verify(bundle, precision)
        bundle.path.rename(destination)
    return open_bundle(destination)


def _verify(bundle: Bundle, precision: Precision) -> None:
    with Pipeline.open(bundle, backend="cpu", precision=precision) as pipeline:
        failed = [check for check in verify(bundle, pipeline) if not check.passed]
    if failed:
        lines = "; ".join(f"{each.name}: {each.found}, wanted {each.wanted}" for each in failed)
        raise ParityError(f"in {precision} the bundle fails its own golden slices ({lines})")
