"""Backends: one file each, imported on use."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final, NamedTuple

from scanside.backends.onnxruntime import usable_cores
from scanside.errors import BackendError, EngineError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scanside.backends.base import Backend
    from scanside.bundle import Bundle
    from scanside.contract import Precision

__all__ = ["BACKENDS", "ON_CPU", "ON_GPU", "Loaded", "load"]

ON_GPU: Final = {
    "tensorrt": "scanside.backends.tensorrt",
    "ort-trt": "scanside.backends.orttrt",
    "cuda": "scanside.backends.cuda",
}
"""Backends on an NVIDIA GPU, the one that ``auto`` prefers first. Each module has
``load(bundle, precision, *, lanes)``, which raises `BackendError` with the reason, and
``unavailable()``, which says why it can't be used here as far as that is known without importing
a library."""

ON_CPU: Final = {
    "cpu": "scanside.backends.onnxruntime",
    "openvino": "scanside.backends.openvino",
}
"""Backends on the CPU; ``auto`` takes the faster of those that are installed, see `choice`."""

BACKENDS: Final = ON_GPU | ON_CPU | {"tensorrt-rtx": "scanside.backends.tensorrt_rtx"}
"""Backends by name: the module that has ``load(bundle, precision, *, lanes)``. Engines of
TensorRT-RTX are built ahead of time for desktop GPUs; ``auto`` does not look for them."""


class Loaded(NamedTuple):
    """A backend that is ready, and why it is this one.

    Attributes
    ----------
    backend
        The backend.
    fallback
        Which better backends ``auto`` passed over because they can't be used here, and why; none
        where the backend was named.
    reason
        By what measurement ``auto`` took this backend; none where there was nothing to choose.
    """

    backend: Backend
    fallback: str | None
    reason: str | None = None


def load(
    name: str,
    bundle: Bundle,
    precision: Precision | None = None,
    *,
    streaming: bool = False,
    once: bool = False,
) -> Loaded:
    """Load a bundle's models into a backend.

    Parameters
    ----------
    name
        A name of `BACKENDS`, or ``auto`` for the best that can be used here: those on a GPU in
        the order of `ON_GPU`, then the faster one on the CPU.
    bundle
        The opened bundle.
    precision
        The precision; none for the bundle's default.
    streaming
        Make the most slices a second, in as many lanes as pay on this machine, where the default
        is the least time for one slice.
    once
        A single slice is all: of those on the CPU, ``auto`` takes the one that starts soonest.

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
        return _best(bundle, wanted, streaming=streaming, once=once)
    if name not in BACKENDS:
        raise UsageError(f"there is no backend {name!r}", accepted=", ".join(("auto", *BACKENDS)))
    return Loaded(_load(name, bundle, wanted, streaming=streaming), None)


def _best(bundle: Bundle, precision: Precision, *, streaming: bool, once: bool) -> Loaded:
    from scanside.backends.choice import PACKAGES, choose, installed

    passed_over: dict[str, str] = {}

    def loaded(name: str) -> Backend:
        return _load(name, bundle, precision, streaming=streaming)

    for name, module in ON_GPU.items():
        if (why := import_module(module).unavailable()) is None:
            try:
                return Loaded(loaded(name), _said(passed_over))
            except (BackendError, EngineError) as error:
                why = str(error)
        passed_over[name] = why
    # With none installed the first one's error says what to install.
    names = installed(list(PACKAGES)) or list(PACKAGES)[:1]
    choice = choose(bundle, precision, names, loaded, streaming=streaming, once=once)
    return Loaded(choice.backend, _said(passed_over | choice.passed_over), choice.reason)


def _said(passed_over: Mapping[str, str]) -> str | None:
    """Say what was passed over and why, names with the same reason together."""
    names: dict[str, list[str]] = {}
    for name, why in passed_over.items():
        names.setdefault(why, []).append(name)
    return "; ".join(f"{', '.join(held)}: {why}" for why, held in names.items()) or None


def _load(name: str, bundle: Bundle, precision: Precision, *, streaming: bool) -> Backend:
    lanes = usable_cores() if streaming else 1
    backend: Backend = import_module(BACKENDS[name]).load(bundle, precision, lanes=lanes)
    return backend
