"""What is scanside's own: its Python, its cache folder, its default bundle."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from scanside.bundle import open_bundle
from scanside.cachefolder import cache_folder
from scanside.doctor.findings import Finding
from scanside.engines import engine_folder, kept_engines, read_engine
from scanside.errors import BundleError, EngineError

if TYPE_CHECKING:
    from pathlib import Path

    from scanside.doctor.host import Host
    from scanside.engines import Sidecar

__all__ = ["bundle_finding", "cache_finding", "engines_finding", "opencv_finding", "python_finding"]

_OPENCV: Final = (
    "opencv-python-headless", "opencv-python",
    "opencv-contrib-python", "opencv-contrib-python-headless",
)  # fmt: skip
"""Distributions that all write the package `cv2`; the first is scanside's."""

_REMEDY: Final = "pip install --force-reinstall --no-deps scanside"


def python_finding(host: Host) -> Finding:
    """Say which Python runs scanside, and where."""
    where = "a virtual environment" if host.python.virtual else "no virtual environment"
    version = ".".join(map(str, host.python.version))
    own = host.version("scanside") or "from its source, not installed"
    found = f"{version} in {host.python.prefix} ({where}); scanside {own}"
    return Finding(name="python", state="ok", found=found)


def opencv_finding(host: Host) -> Finding:
    """Say whether OpenCV is installed once: several distributions write the same package."""
    held = {name: version for name in _OPENCV if (version := host.version(name)) is not None}
    listed = ", ".join(f"{name} {version}" for name, version in held.items())
    if len(held) < 2:  # noqa: PLR2004 - two write over each other
        return Finding(name="opencv", state="ok", found=listed or "not from a Python package")
    return Finding(
        name="opencv",
        state="problem",
        found=f"{listed}: each writes over the other's files",
        remedy=f"pip uninstall -y {' '.join(held)} && pip install {_OPENCV[0]}",
    )


def cache_finding() -> tuple[Finding, Path | None]:
    """Say where the cache folder is and what is in it; it is made if it is not there."""
    heard = _Heard()
    logger = logging.getLogger("scanside.cachefolder")
    logger.addHandler(heard)
    propagate, logger.propagate = logger.propagate, False
    try:
        folder = cache_folder()
    finally:
        logger.propagate = propagate
        logger.removeHandler(heard)
    if folder is None:
        found = "; ".join(heard.messages) or "off: no folder of this user's own can be written"
        return Finding(
            name="cache folder",
            state="problem",
            found=found,
            remedy='export SCANSIDE_CACHE=a folder of your own, for instance "$HOME/.scanside"',
        ), None
    sizes = [file.stat().st_size for file in folder.rglob("*") if file.is_file()]
    found = f"{folder}: {len(sizes)} files, {sum(sizes) / 1e6:.1f} MB; all of it can be made again"
    return Finding(name="cache folder", state="ok", found=found), folder


def engines_finding(cache: Path | None) -> Finding:
    """Say which engines `scanside build` has kept, and whether they are as they were built.

    Parameters
    ----------
    cache
        The cache folder, none where there is none.
    """
    if cache is None:
        return Finding(name="engines", state="absent-by-design", found="no cache folder")
    try:
        folder = engine_folder()
        kept = kept_engines(folder)
    except (OSError, EngineError) as error:
        return Finding(
            name="engines", state="problem", found=f"can't be read: {error}",
            remedy='export SCANSIDE_CACHE=a folder of your own, for instance "$HOME/.scanside"',
        )  # fmt: skip
    if damaged := [why for sidecar in kept if (why := _damage(folder, sidecar))]:
        return Finding(
            name="engines", state="problem", found="; ".join(damaged), remedy="scanside build"
        )
    if not kept:
        return Finding(name="engines", state="absent-by-design", found=f"none in {folder}")
    return Finding(name="engines", state="ok", found="; ".join(map(_engine, kept)))


def _damage(folder: Path, sidecar: Sidecar) -> str:
    """Say why an engine is refused; nothing where it is as it was built."""
    try:
        read_engine(folder, sidecar.key)
    except EngineError as error:
        return error.given
    return ""


def _engine(sidecar: Sidecar) -> str:
    key = sidecar.key
    return (
        f"{key.digest[:12]}: {sidecar.model} in {key.precision}, {key.runtime}"
        f" {key.runtime_version}, for {key.gpu_name} ({key.compute_capability}), batches of"
        f" {key.profile[0]} to {key.profile[2]}, built {sidecar.built}"
    )


def bundle_finding() -> tuple[Finding, BundleError | None]:
    """Verify the default bundle: every field, every size, every hash.

    Returns
    -------
    tuple
        The finding, and the error that the bundle is refused with.
    """
    try:
        bundle = open_bundle()
    except BundleError as error:
        found = str(error)
        return Finding(name="bundle", state="problem", found=found, remedy=_REMEDY), error
    held = bundle.manifest
    found = (
        f"{bundle.label}, {', '.join(held.precisions)}, by default {held.default_precision};"
        f" {len(held.files())} files with the hashes of its manifest"
        f" (sha256 {bundle.manifest_sha256[:12]}...)"
    )
    return Finding(name="bundle", state="ok", found=found), None


class _Heard(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage().removeprefix("scanside: "))
