"""The time of each layer, by a backend that can tell it."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Final

from scanside.backends.base import ProfilesLayers
from scanside.bench.schema import LayerTime
from scanside.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from scanside.backends.base import Backend

__all__ = ["check_profiles", "layer_lines", "time_layers"]

_RUNS: Final = 50
"""Of each model: some 0.2 s; their median is told."""

_SHOWN: Final = 12
"""Layers of a model that a table holds; the JSON holds all."""

_NAME: Final = 60


def check_profiles(backend: Backend) -> ProfilesLayers:
    """Return the backend as one that times layers.

    Raises
    ------
    UsageError
        If it can't.
    """
    if not isinstance(backend, ProfilesLayers):
        raise UsageError(
            f"--profile-layers: the {backend.name} backend can't time layers",
            accepted="--profile-layers with --backend tensorrt or tensorrt-rtx",
        )
    return backend


def time_layers(
    backend: ProfilesLayers, image: NDArray[np.uint8]
) -> dict[str, tuple[LayerTime, ...]]:
    """Time every layer of both models, one slice at a time.

    Parameters
    ----------
    backend
        Warm; nothing else uses it.
    image
        uint8 ``[256, 256, 3]``.

    Returns
    -------
    dict
        By model: its layers in the order of their computation.
    """
    found = {}
    for role, layers in backend.profile_layers(image[None], _RUNS).items():
        medians = {name: median(times) for name, times in layers.items()}
        whole = sum(medians.values()) or 1.0
        found[str(role)] = tuple(
            LayerTime(name=name, median_ms=round(ms, 6), share=round(ms / whole, 6))
            for name, ms in medians.items()
        )
    return found


def layer_lines(layers: Mapping[str, Sequence[LayerTime]]) -> Iterator[str]:
    """Yield a table: of each model the layers that take longest.

    Parameters
    ----------
    layers
        See `time_layers`.
    """
    for role, held in layers.items():
        whole = sum(layer.median_ms for layer in held)
        yield (
            f"{role}: {len(held)} layers, {whole:.3f} ms launched one by one (not as fast as"
            " they run)"
        )
        longest = sorted(held, key=lambda layer: -layer.median_ms)[:_SHOWN]
        for layer in longest:
            yield f"  {layer.median_ms:>8.3f} ms {layer.share:>6.1%}  {layer.name[:_NAME]}"
        if (more := len(held) - len(longest)) > 0:
            yield f"  and {more} more, in --json"
        yield ""
