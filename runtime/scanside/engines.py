"""Engines: what `scanside build` made of a model for this device, read back only if it fits.

An engine is a plan of TensorRT or TensorRT-RTX with a JSON sidecar beside it. It belongs to one
model, one version of the library, one kind of GPU and one set of settings: all of them are in
its key, and the key's digest is its file name. Deserialising a plan may run code that is in it,
so its hash is checked first, and a file that another user owns or may write to is refused.
Nothing here builds: what does not fit is an `EngineError` that says what differs.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Final, Literal

import msgspec

from scanside.cachefolder import cache_folder
from scanside.enginematch import EngineKey, Wanted, differences, fits
from scanside.errors import EngineError, InternalError, OutputError
from scanside.fields import Count, Part, Positive, Sha256
from scanside.privatefile import locked, read_private, replace_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from scanside.contract import Precision

__all__ = [
    "ENGINE_SCHEMA",
    "EngineKey",
    "Sidecar",
    "Wanted",
    "engine_folder",
    "find_engine",
    "kept_engines",
    "plan_file",
    "read_engine",
    "write_engine",
]

ENGINE_SCHEMA: Final = "scanside.engine/1"

_SIDECAR_LIMIT: Final = 1 << 20
"""Bytes; a sidecar is some kilobytes, and nothing is parsed that is far from it."""


class Sidecar(Part, frozen=True, kw_only=True):
    """What is known of an engine, in the file beside it.

    Attributes
    ----------
    key
        What the engine depends on.
    plan_sha256, size
        The plan's hash and its bytes.
    built
        When, in UTC, as ISO 8601 has it.
    command
        The command that built it.
    seconds
        How long that took.
    warnings
        What was said against it, for instance layers that were meant to be INT8 and are not.
    layers
        Number of kernels by kind and datatypes, for instance ``{"convolution Int8": 53}``.
    model
        Whose engine it is, in words.
    bundle_profile
        Smallest, best and largest batch as the bundle has them, where the profile of the key was
        asked for in their place.
    """

    key: EngineKey
    plan_sha256: Sha256
    size: Count
    built: str
    command: str
    seconds: Annotated[float, msgspec.Meta(ge=0)]
    warnings: tuple[str, ...] = ()
    layers: dict[str, Count] = msgspec.field(default_factory=dict)
    model: str = ""
    bundle_profile: tuple[Positive, Positive, Positive] | None = None
    schema: Literal["scanside.engine/1"] = ENGINE_SCHEMA


def engine_folder() -> Path:
    """Return the folder of this user's engines: ``engines`` in the cache folder.

    Raises
    ------
    EngineError
        If there is no cache folder that is this user's own and can be written.
    """
    folder = cache_folder("engines")
    if folder is None:
        raise EngineError(
            "there is no folder for engines that is yours alone and can be written",
            remedy="name a folder of yours with SCANSIDE_CACHE",
        )
    return folder


def plan_file(folder: Path, key: EngineKey) -> Path:
    """Return where an engine's plan lies; its sidecar has the suffix ``.json``."""
    return folder / f"{key.digest}.plan"


def write_engine(folder: Path, key: EngineKey, plan: bytes, sidecar: Sidecar) -> Path:
    """Keep an engine so that it is there whole or not at all; one of the same key is replaced.

    Parameters
    ----------
    folder
        From `engine_folder`, or any other of this user's.
    key
        What the engine depends on.
    plan
        What the builder gave.
    sidecar
        What is known of it.

    Returns
    -------
    Path
        The plan's file.

    Raises
    ------
    OutputError
        If it can't be written.
    InternalError
        If the sidecar is another engine's.
    """
    if (sidecar.key, sidecar.size) != (key, len(plan)) or sidecar.plan_sha256 != _sha256(plan):
        raise InternalError("the sidecar is not that of the engine")
    path = plan_file(folder, key)
    encoded = msgspec.json.format(msgspec.json.encode(sidecar), indent=2) + b"\n"
    try:
        with locked(folder, exclusive=True):
            # The sidecar last: without the one that belongs to it a plan is no engine.
            replace_file(path, plan)
            replace_file(path.with_suffix(".json"), encoded)
    except OSError as error:
        raise OutputError(
            f"{path}: {error.strerror or error}",
            remedy="free space, or name another folder with SCANSIDE_CACHE",
        ) from error
    return path


def read_engine(folder: Path, key: EngineKey) -> tuple[bytes, Sidecar]:
    """Return an engine exactly as it was built; hand it to a runtime only from here.

    Parameters
    ----------
    folder
        From `engine_folder`.
    key
        What the engine has to be, for instance from `find_engine`.

    Returns
    -------
    tuple of bytes and Sidecar
        The plan, whose hash is right, and what is known of it.

    Raises
    ------
    EngineError
        If there is no such engine, or its plan or its sidecar is missing, cut, changed,
        another's, or open to others' writing. The remedy is to build it again.
    """
    path = plan_file(folder, key)
    try:
        with locked(folder):
            sidecar = _read_sidecar(path.with_suffix(".json"))
            plan = read_private(path, sidecar.size)
    except OSError as error:
        raise _refused(_missing(path) or f"{path}: {error.strerror or error}") from None
    if sidecar.key != key:
        raise _refused(
            f"{path}: the sidecar is that of another engine:"
            f" {'; '.join(differences(sidecar.key, Wanted.of(key))) or 'other settings'}"
        )
    if len(plan) != sidecar.size:
        raise _refused(
            f"{path}: the plan is {'cut: it has' if len(plan) < sidecar.size else 'more than'}"
            f" {min(len(plan), sidecar.size)} bytes", f"{sidecar.size} bytes",
        )  # fmt: skip
    if (found := _sha256(plan)) != sidecar.plan_sha256:
        raise _refused(f"{path}: the plan is damaged: its sha256 is {found}", sidecar.plan_sha256)
    return plan, sidecar


def kept_engines(folder: Path) -> list[Sidecar]:
    """Return what is known of every engine that is kept, for whatever model and device.

    Parameters
    ----------
    folder
        From `engine_folder`.

    Returns
    -------
    list of Sidecar
        Those that can be read; the plans have not been looked at.

    Raises
    ------
    OSError
        If the folder can't be read.
    """
    with locked(folder):
        return list(_sidecars(folder))


def find_engine(folder: Path, wanted: Wanted) -> Sidecar:
    """Return the engine to use; of several that fit, the one that was built last.

    Parameters
    ----------
    folder
        From `engine_folder`.
    wanted
        The model, the library, the device, the precision and the batch.

    Returns
    -------
    Sidecar
        Its `key` is what `read_engine` takes; the plan has not been looked at.

    Raises
    ------
    EngineError
        If none fits; the message says what differs in the closest one.
    """
    try:
        known = kept_engines(folder)
    except OSError as error:
        raise _refused(f"{folder}: {error.strerror or error}") from None
    fitting = [each for each in known if fits(each.key, wanted)]
    if fitting:
        return max(fitting, key=lambda each: (each.built, each.key.digest))
    if not known:
        raise _refused(f"{folder}: no engine was built yet for {wanted.label}")
    closest = min(known, key=lambda each: len(differences(each.key, wanted)))
    raise _refused(
        f"{folder}: none of {len(known)} engines is for {wanted.label}; the closest one"
        f" ({closest.model or closest.key.digest[:12]}) differs:"
        f" {'; '.join(differences(closest.key, wanted))}",
        precision=wanted.precision,
    )


def _sidecars(folder: Path) -> Iterator[Sidecar]:
    """Yield the sidecars that can be read; a damaged one is no engine that could fit."""
    for file in sorted(folder.glob("*.json")):
        with suppress(OSError, EngineError):
            yield _read_sidecar(file)


def _read_sidecar(path: Path) -> Sidecar:
    try:
        return msgspec.json.decode(read_private(path, _SIDECAR_LIMIT), type=Sidecar)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _refused(f"{path}: the sidecar is damaged: {error}") from None


def _missing(path: Path) -> str:
    """Say what of an engine is missing; nothing where both files are there."""
    there = [file.exists() for file in (path, path.with_suffix(".json"))]
    if all(there):
        return ""
    if not any(there):
        return f"{path}: there is no such engine"
    return f"{path}: the {'sidecar' if there[0] else 'plan'} is missing"


def _refused(given: str, accepted: str = "", *, precision: Precision | None = None) -> EngineError:
    option = f" --precision {precision}" if precision else ""
    return EngineError(
        given,
        accepted=accepted,
        remedy=f"build it on this device: scanside build BUNDLE{option}",
    )


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
