"""The two-stage pipeline: preprocess, classify, gate, segment, postprocess.

`Pipeline.analyse` is the latency path: one slice, no queues. `scanside.lanes` is the streaming
path: it reads and prepares the next slices while several are with the models side by side. Both
call `Pipeline.analyse_prepared`, so both decide the same.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from scanside import backends
from scanside.errors import BackendError
from scanside.gate import Decision, Route, decide, route
from scanside.postprocess import Region, is_probability_map, outline
from scanside.preprocess import (
    CHANNELS,
    Geometry,
    Window,
    fill_missing,
    preprocess,
    restore,
    stood_in,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from numpy.typing import NDArray

    from scanside.backends.base import Backend
    from scanside.bundle import Bundle
    from scanside.contract import Precision, Thresholds
    from scanside.records import Status

__all__ = ["Pipeline", "Prepared", "Result", "prepare"]

_OTHERS: Final = tuple(name for name in CHANNELS if name != "FLAIR")


class Prepared(NamedTuple):
    """A slice that is ready for the models.

    Attributes
    ----------
    image
        The model's input, uint8 ``[256, 256, 3]``.
    geometry
        Where the slice lies in it.
    filled
        The sequences that FLAIR stands in for.
    milliseconds
        What the preparation took.
    """

    image: NDArray[np.uint8]
    geometry: Geometry
    filled: tuple[str, ...]
    milliseconds: float


class Result(NamedTuple):
    """What the pipeline found in one slice.

    Attributes
    ----------
    status, reason
        ``ok`` or ``indeterminate``, and why.
    tumor_probability
        The classifier's output; none where it is not finite.
    tumor
        Whether the algorithm found a region; none where indeterminate.
    segmented
        Whether the segmenter ran.
    region
        The mask on the source grid and its measures; none where the segmenter did not run or
        its output is not finite.
    filled
        The sequences that FLAIR stands in for.
    timings_ms
        Milliseconds by stage: preprocess, classify, segment, postprocess.
    """

    status: Status
    reason: str | None
    tumor_probability: float | None
    tumor: bool | None
    segmented: bool
    region: Region | None
    filled: tuple[str, ...]
    timings_ms: dict[str, float]


def prepare(
    pixels: NDArray[np.generic],
    *,
    window: Window | None = None,
    fill: bool = False,
    aspect: float = 1.0,
) -> Prepared:
    """Prepare a slice for the models; a pure function that any thread may call.

    Parameters
    ----------
    pixels
        The slice, ``[H, W, 3]`` in the order pre-contrast, FLAIR, post-contrast; ``[H, W]``
        only with `fill`.
    window
        The window of the slice's series; required for anything but uint8.
    fill
        Let a grey slice count as FLAIR that stands in for the other two sequences.
    aspect
        Height of a pixel over its width.

    Raises
    ------
    InputError
        If the slice is not accepted.
    """
    started = time.perf_counter()
    grey = fill and pixels.ndim > 1 and pixels.shape[2:] in ((), (1,))
    if grey:
        pixels = fill_missing(pixels)
    image, geometry = preprocess(pixels, window, aspect)
    filled = _OTHERS if grey else stood_in(pixels)
    return Prepared(image, geometry, filled, _since(started))


class Pipeline:
    """The two models and the gate between them.

    Parameters
    ----------
    backend
        What computes; see `scanside.backends.load`.
    thresholds
        The bundle's thresholds.
    fallback
        What ``auto`` could not use here and why, if anything.
    reason
        By what measurement ``auto`` took this backend, if it had a choice.

    Examples
    --------
    >>> with Pipeline.open(open_bundle()) as pipeline:
    ...     result = pipeline.analyse(pixels)
    """

    def __init__(
        self,
        backend: Backend,
        thresholds: Thresholds,
        *,
        fallback: str | None = None,
        reason: str | None = None,
    ) -> None:
        self.backend: Final = backend
        self.thresholds: Final = thresholds
        self.fallback: Final = fallback
        self.reason: Final = reason

    @classmethod
    def open(
        cls,
        bundle: Bundle,
        *,
        backend: str = "auto",
        precision: Precision | None = None,
        streaming: bool = False,
        once: bool = False,
    ) -> Pipeline:
        """Load a bundle's models.

        Parameters
        ----------
        bundle, backend, precision
            As for `scanside.backends.load`, with its errors.
        streaming
            Make the most slices a second, where the default is the least time for one slice.
        once
            A single slice is all: ``auto`` goes by the time to the first result.
        """
        loaded = backends.load(backend, bundle, precision, streaming=streaming, once=once)
        thresholds = bundle.manifest.thresholds
        return cls(loaded.backend, thresholds, fallback=loaded.fallback, reason=loaded.reason)

    def __enter__(self) -> Pipeline:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Free the models; the pipeline can't be used afterwards."""
        self.backend.close()

    def analyse(
        self,
        pixels: NDArray[np.generic],
        *,
        window: Window | None = None,
        fill: bool = False,
        aspect: float = 1.0,
    ) -> Result:
        """Analyse one slice: the latency path.

        Parameters
        ----------
        pixels, window, fill, aspect
            As for `prepare`.

        Raises
        ------
        InputError
            If the slice is not accepted.
        BackendError
            If the device fails or gives an output of a wrong shape.
        """
        return self.analyse_prepared([prepare(pixels, window=window, fill=fill, aspect=aspect)])[0]

    def analyse_prepared(self, slices: Sequence[Prepared]) -> list[Result]:
        """Analyse prepared slices as one batch; the segmenter sees only the positive ones.

        Parameters
        ----------
        slices
            At least one.

        Raises
        ------
        BackendError
            If the device fails or gives an output of a wrong shape.
        """
        started = time.perf_counter()
        images = _batch(slices)
        probabilities = _checked(
            self.backend.classify(images), (len(slices), 1), "tumor_probability"
        )[:, 0]
        classify_ms = _since(started) / len(slices)

        routes = [route(float(p), self.thresholds) for p in probabilities]
        chosen = [n for n, way in enumerate(routes) if way is Route.SEGMENT]
        started = time.perf_counter()
        planes = self._segment(images, chosen)
        segment_ms = _since(started) / max(1, len(chosen))

        results = []
        for n, prepared in enumerate(slices):
            timings = {"preprocess": prepared.milliseconds, "classify": classify_ms}
            if n in planes:
                timings["segment"] = segment_ms
            results.append(
                self._conclude(prepared, float(probabilities[n]), planes.get(n), timings)
            )
        return results

    def _segment(
        self, images: NDArray[np.uint8], chosen: Sequence[int]
    ) -> dict[int, NDArray[np.float32]]:
        if not chosen:
            return {}
        everything = len(chosen) == len(images)
        selected = images if everything else np.ascontiguousarray(images[list(chosen)])
        planes = _checked(
            self.backend.segment(selected), (len(chosen), *images.shape[1:3]), "mask_probability"
        )
        return dict(zip(chosen, planes, strict=True))

    def _conclude(
        self,
        prepared: Prepared,
        probability: float,
        plane: NDArray[np.float32] | None,
        timings: dict[str, float],
    ) -> Result:
        started = time.perf_counter()
        region, area = None, None
        if plane is not None:
            if is_probability_map(plane):
                region = outline(restore(plane, prepared.geometry), self.thresholds.mask)
                area = region.area
            else:
                area = -1
        decision: Decision = decide(probability, self.thresholds, area)
        timings["postprocess"] = _since(started)
        return Result(
            status=decision.status,
            reason=decision.reason,
            tumor_probability=probability if math.isfinite(probability) else None,
            tumor=decision.tumor,
            segmented=plane is not None,
            region=region,
            filled=prepared.filled,
            timings_ms=timings,
        )


def _batch(slices: Sequence[Prepared]) -> NDArray[np.uint8]:
    if len(slices) == 1:
        return slices[0].image[np.newaxis]
    return np.stack([prepared.image for prepared in slices])


def _checked(output: NDArray[np.float32], shape: tuple[int, ...], name: str) -> NDArray[np.float32]:
    """Refuse an output that is not of the contract's shape and dtype."""
    if output.shape != shape or output.dtype != np.float32:
        raise BackendError(
            f"{name} is {output.dtype} {list(output.shape)}",
            accepted=f"float32 {list(shape)}",
            remedy="the bundle or the engine is not of this contract: run scanside verify",
        )
    return output


def _since(started: float) -> float:
    return round((time.perf_counter() - started) * 1e3, 3)
