"""Backends: one file each, imported on use."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final, NamedTuple

from scanside.backends.onnxruntime import usable_cores
from scanside.errors import BackendError, UsageError

if TYPE_CHECKING:
    from scanside.backends.base import Backend
    from scanside.bundle import Bundle
    from scanside.contract import Precision

__all__ = ["BACKENDS", "Loaded", "load"]

BACKENDS: Final = {
    "cpu": "scanside.backends.onnxruntime",
    "openvino": "scanside.backends.openvino",
}
"""Backends by name: the module that has ``load(bundle, precision, *, lanes)``."""

_WITHOUT: Final = ("tensorrt", "ort-trt", "cuda")
"""Names of the command line that this version has no backend for."""


class Loaded(NamedTuple):
    """A backend that is ready, and why it is this one.

    Attributes
    ----------
    backend
        The backend.
    fallback
        What ``auto`` passed over because it can't be used here, and why; none where the backend
        was named.
    reason
        By what measurement ``auto`` took this backend; none where there was nothing to choose.
    """

    backend: Backend
    fallback: str | None
    reason: str | None = None


def load(
    name: str, bundle: Bundle, precision: Precision | None = None, *, streaming: bool = False
) -> Loaded:
    """Load a bundle's models into a backend.

    Parameters
    ----------
    name
        A name of `BACKENDS`, or ``auto`` for the one that is faster here; see `choice`.
    bundle
        The opened bundle.
    precision
        The precision; none for the bundle's default.
    streaming
        Make the most slices a second, in as many lanes as pay on this machine, where the default
        is the least time for one slice.

    Raises
    ------
    UsageError
        If there is no backend of this name.
    BackendError
        If the backend can't be used here. A named backend is never replaced by another.
    BundleError
        If the bundle does not hold the precision.
    """
    wanted = precision or bundle.manifest.default_precision
    if name == "auto":
        return _best(bundle, wanted, streaming=streaming)
    if name in _WITHOUT:
        raise BackendError(
            f"this version of scanside has no {name} backend",
            accepted=", ".join(("auto", *BACKENDS)),
            remedy="use --backend cpu, or --backend auto for the fastest one there is",
        )
    if name not in BACKENDS:
        raise UsageError(f"there is no backend {name!r}", accepted=", ".join(("auto", *BACKENDS)))
    return Loaded(_load(name, bundle, wanted, streaming=streaming), None)


def _best(bundle: Bundle, precision: Precision, *, streaming: bool) -> Loaded:
    from scanside.backends.choice import PACKAGES, choose, installed

    # With none installed the first one's error says what to install.
    names = installed(list(PACKAGES)) or list(PACKAGES)[:1]
    choice = choose(
        bundle,
        precision,
        names,
        lambda name: _load(name, bundle, precision, streaming=streaming),
        streaming=streaming,
    )
    passed_over = "; ".join(f"{name}: {why}" for name, why in choice.passed_over.items())
    return Loaded(choice.backend, passed_over or None, choice.reason)


def _load(name: str, bundle: Bundle, precision: Precision, *, streaming: bool) -> Backend:
    lanes = usable_cores() if streaming else 1
    backend: Backend = import_module(BACKENDS[name]).load(bundle, precision, lanes=lanes)
    return backend
