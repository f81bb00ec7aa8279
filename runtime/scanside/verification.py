"""Golden parity: a bundle on this backend and device against what it did when it was made.

The golden slices are phantoms, so that they may ship. For each of them the bundle holds the
FP32 outputs, the route through the gate and the decision. Everything a slice passes through is
compared: preprocessing, both models, thresholds, gate, masks on the source grid, and batches.

INT8 lies further from FP32 than what a grey level more or less does. Where a backend computes in
an arithmetic that is the same on every device, the classifier is held to its own outputs too.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from scanside.backends.arithmetic import ARITHMETIC
from scanside.checks import Check
from scanside.gate import Route, decide, route
from scanside.golden import DECISIONS, one_of_each_route, read_golden
from scanside.pipeline import prepare
from scanside.postprocess import is_probability_map
from scanside.preprocess import Window, restore

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from scanside.backends.base import Backend
    from scanside.bundle import Bundle
    from scanside.contract import Thresholds, Tolerance
    from scanside.golden import GoldenSlices
    from scanside.pipeline import Pipeline, Result
    from scanside.postprocess import Region

__all__ = ["compare", "dice", "verify"]

_BLUR: Final = 4.0
"""Grey levels by which bilinear enlargement changes a pixel on average, at most (about 1)."""

_SMALLEST: Final = 1e-4
"""Probabilities closer to 0 or 1 count as this close: their logits are not compared."""

_SAME_LOGIT: Final = 0.02
"""Largest difference, as a logit, of outputs of the same integer arithmetic. Equal bits were seen
on every device tried; one grey level moves the bundle that ships by 0.13."""

_GAIN, _OFFSET = 13, 57
"""A 16-bit copy of a golden slice has these: its window inverts them exactly."""


def verify(bundle: Bundle, pipeline: Pipeline, *, quick: bool = False) -> tuple[Check, ...]:
    """Compare a pipeline with the golden slices of its bundle.

    Parameters
    ----------
    bundle
        The bundle.
    pipeline
        The pipeline on the backend and in the precision in question.
    quick
        With one golden slice of each route only: a third of the time, for each start of a server.

    Returns
    -------
    tuple of Check
        In the order in which a slice meets them.

    Raises
    ------
    BundleError
        If the golden slices are not of this contract.
    BackendError
        If the device fails.
    """
    golden = read_golden(bundle)
    if quick:
        golden = one_of_each_route(golden)
    tolerance = bundle.manifest.golden.tolerances[pipeline.backend.precision]
    return tuple(_checks(golden, tolerance, pipeline))


def _checks(golden: GoldenSlices, tolerance: Tolerance, pipeline: Pipeline) -> Iterator[Check]:
    yield _thresholds(golden, pipeline.thresholds)
    yield _gate(pipeline.thresholds)
    yield _meaning(pipeline.thresholds)
    yield _preprocessing(golden.images)
    yield _geometry(golden.images[0])
    backend = pipeline.backend
    probabilities = np.concatenate([backend.classify(image[None]) for image in golden.images])
    planes = np.concatenate([backend.segment(image[None]) for image in golden.images])
    yield from compare(
        (golden.tumor_probability, golden.mask_probability),
        (probabilities, planes),
        golden.mask,
        tolerance,
    )
    yield from _recorded(golden, backend, probabilities)
    single = [pipeline.analyse(image) for image in golden.images]
    together = pipeline.analyse_prepared([prepare(image) for image in golden.images])
    yield _decisions("decisions", golden, single)
    yield _decisions("decisions as one batch", golden, together)
    yield _masks(golden, single, tolerance)


def compare(
    wanted: tuple[NDArray[np.float32], NDArray[np.float32]],
    found: tuple[NDArray[np.float32], NDArray[np.float32]],
    threshold: float,
    tolerance: Tolerance,
) -> Iterator[Check]:
    """Compare both models' outputs with a reference.

    Parameters
    ----------
    wanted, found
        `tumor_probability` ``[N, 1]`` and `mask_probability` ``[N, 256, 256]``.
    threshold
        Where masks are cut.
    tolerance
        How far outputs may lie apart.

    Yields
    ------
    Check
        The classifier's error, the segmenter's error, the masks' Dice.
    """
    error = _largest(np.abs(found[0] - wanted[0]))
    limit = tolerance.tumor_probability
    yield Check("tumor_probability", error <= limit, f"error {error:.2g}", f"at most {limit:g}")
    near = np.abs(found[1] - wanted[1]) <= tolerance.mask_probability
    share = float(near.mean(axis=(1, 2)).min())
    yield Check(
        "mask_probability",
        share >= tolerance.mask_pixels,
        f"{share:.3%} of the worst slice's pixels within {tolerance.mask_probability:g}",
        f"at least {tolerance.mask_pixels:.3%}",
    )
    pairs = zip(wanted[1], found[1], strict=True)
    worst = min(dice(one >= threshold, other >= threshold) for one, other in pairs)
    yield Check(
        "masks",
        worst >= tolerance.mask_dice,
        f"Dice {worst:.4f}",
        f"at least {tolerance.mask_dice:g}",
    )


def _recorded(
    golden: GoldenSlices, backend: Backend, found: NDArray[np.float32]
) -> Iterator[Check]:
    """Compare INT8 with what the same arithmetic gave where it was calibrated."""
    if backend.precision != "int8":
        return
    name = backend.describe().get(ARITHMETIC, "")
    if name not in golden.recorded:
        yield Check(
            "recorded outputs",
            passed=True,
            found="none for this backend: a grey level more or less would not show",
            wanted="some, or verify with --backend cpu",
        )
        return
    error = _largest(np.abs(_logit(found) - _logit(golden.recorded[name])))
    yield Check(
        "recorded outputs",
        error <= _SAME_LOGIT,
        f"error {error:.2g} as a logit",
        f"at most {_SAME_LOGIT:g} ({name})",
    )


def _logit(probability: NDArray[np.float32]) -> NDArray[np.float64]:
    inside = np.clip(probability.astype(np.float64), _SMALLEST, 1 - _SMALLEST)
    return np.log(inside / (1 - inside))


def dice(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """Return the Dice coefficient of two masks; 1 where both are empty."""
    total = int(np.count_nonzero(one)) + int(np.count_nonzero(other))
    return 2 * int(np.count_nonzero(one & other)) / total if total else 1.0


def _thresholds(golden: GoldenSlices, held: Thresholds) -> Check:
    wanted = (golden.gate, golden.decision, golden.mask)
    found = (held.gate, held.decision, held.mask)
    return Check("thresholds", found == wanted, _listed(found), _listed(wanted))


def _gate(held: Thresholds) -> Check:
    below, above = math.nextafter(held.gate, -1.0), math.nextafter(held.gate, 2.0)
    routes = {
        below: Route.SKIP,
        held.gate: Route.SEGMENT,
        above: Route.SEGMENT,
        math.nan: Route.INDETERMINATE,
        math.inf: Route.INDETERMINATE,
    }
    # At the ends of 0..1 the neighbour is no probability.
    wrong = sum(
        route(p, held) is not way
        for p, way in routes.items()
        if not math.isfinite(p) or 0 <= p <= 1
    )
    return Check("gate", wrong == 0, f"{wrong} wrong routes", "none")


def _meaning(held: Thresholds) -> Check:
    """Ask for the meaning of every kind of outcome; None is an area that is not known."""
    unsure = ("indeterminate", None)
    cases: list[tuple[float, int | None, tuple[str, bool | None]]] = [
        (held.gate, None, ("ok", False)),
        (held.gate, 1, ("ok", True)),
        (held.gate, 0, ("ok", False) if held.gate < held.decision else unsure),
        (held.decision, 0, unsure),
        (held.decision, -1, unsure),
        (math.nan, None, unsure),
        (math.nan, 1, unsure),
    ]
    wrong = sum(decide(p, held, area)[:2] != meaning for p, area, meaning in cases)
    wrong += is_probability_map(np.full((2, 2), np.nan, np.float32))
    return Check("meaning", wrong == 0, f"{wrong} outcomes taken wrongly", "none")


def _preprocessing(images: NDArray[np.uint8]) -> Check:
    """Pass every golden slice byte for byte, and its 16-bit copy by its window."""
    window = Window(_OFFSET, 255 * _GAIN + _OFFSET)
    wrong = sum(
        not (
            np.array_equal(prepare(image).image, image)
            and np.array_equal(
                prepare(image.astype(np.uint16) * _GAIN + _OFFSET, window=window).image, image
            )
        )
        for image in images
    )
    return Check("preprocessing", wrong == 0, f"{wrong} of {len(images)} slices changed", "none")


def _geometry(image: NDArray[np.uint8]) -> Check:
    """Bring slices of other sizes to the model's grid and back, pixel by pixel."""
    wrong = []
    cropped = image[:, 31:226]
    padded = prepare(cropped)
    back = restore(padded.image[..., 1].astype(np.float32), padded.geometry)
    if back.shape != cropped.shape[:2] or not np.array_equal(back, cropped[..., 1]):
        wrong.append("a padded slice moved")
    doubled = prepare(image.repeat(2, axis=0).repeat(2, axis=1))
    shown = restore(doubled.image[..., 1].astype(np.float32), doubled.geometry)
    if not np.array_equal(doubled.image, image) or shown.shape != (512, 512):
        wrong.append("a slice of twice the size changed")
    elif np.abs(shown[::2, ::2] - image[..., 1]).mean() > _BLUR:
        wrong.append("a mask of twice the size moved")
    if not np.array_equal(prepare(image[..., 1], fill=True).image, image[..., [1, 1, 1]]):
        wrong.append("FLAIR does not stand in")
    return Check("geometry", not wrong, ", ".join(wrong) or "exact", "exact")


def _decisions(name: str, golden: GoldenSlices, results: Sequence[Result]) -> Check:
    wanted = [
        (way == Route.SEGMENT.value, DECISIONS[tumor])
        for way, tumor in zip(golden.route, golden.tumor, strict=True)
    ]
    found = [(result.segmented, result.tumor) for result in results]
    wrong = sum(a != b for a, b in zip(wanted, found, strict=True))
    return Check(name, wrong == 0, f"{wrong} of {len(wanted)} differ", "none")


def _masks(golden: GoldenSlices, results: Sequence[Result], tolerance: Tolerance) -> Check:
    """Compare the masks that the pipeline hands out, on the source grid."""
    pairs = zip(golden.mask_probability, (result.region for result in results), strict=True)
    regions = [(plane >= golden.mask, region) for plane, region in pairs if region is not None]
    worst = min((dice(mask, region.mask > 0) for mask, region in regions), default=0.0)
    measured = all(_is_measured(region) for _, region in regions)
    return Check(
        "masks on the source grid",
        worst >= tolerance.mask_dice and measured,
        f"Dice {worst:.4f}" + ("" if measured else ", with a wrong area or box"),
        f"at least {tolerance.mask_dice:g}",
    )


def _is_measured(region: Region) -> bool:
    """Tell whether a region's area and box are those of its mask."""
    area, box = int(np.count_nonzero(region.mask)), region.box
    if box is None:
        return region.area == area == 0
    edges = (box.top, box.bottom - 1), (box.left, box.right - 1)
    lines = (region.mask[list(edges[0])].any(axis=1), region.mask[:, list(edges[1])].any(axis=0))
    inside = int(np.count_nonzero(region.mask[box.top : box.bottom, box.left : box.right]))
    return region.area == area == inside and bool(all(line.all() for line in lines))


def _largest(errors: NDArray[np.floating[Any]]) -> float:
    """Return the largest error; infinite if any is NaN, so that no comparison hides it."""
    return float(errors.max()) if np.isfinite(errors).all() else math.inf


def _listed(values: tuple[float, ...]) -> str:
    return "gate {:.6g}, decision {:.6g}, mask {:.6g}".format(*values)
