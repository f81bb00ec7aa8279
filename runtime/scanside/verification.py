"""Golden parity: a bundle on this backend and device against what it did when it was made.

The golden slices are phantoms, so that they may ship. For each of them the bundle holds the
FP32 outputs, the route through the gate and the decision. Everything a slice passes through is
compared: preprocessing, both models, thresholds, gate, masks on the source grid, and batches.
"""

from __future__ import annotations

import io
import math
import zipfile
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from scanside.errors import BundleError
from scanside.gate import Route, route
from scanside.pipeline import prepare
from scanside.preprocess import Window, restore

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from scanside.bundle import Bundle
    from scanside.contract import Thresholds, Tolerance
    from scanside.pipeline import Pipeline, Result

__all__ = ["Check", "GoldenSlices", "compare", "dice", "read_golden", "verify"]

_DECISIONS: Final = {"true": True, "false": False, "unknown": None}

_GAIN, _OFFSET = 13, 57
"""A 16-bit copy of a golden slice has these: its window inverts them exactly."""


class GoldenSlices(NamedTuple):
    """What ``golden.npz`` holds.

    Attributes
    ----------
    images
        uint8 ``[N, 256, 256, 3]``.
    tumor_probability
        float32 ``[N, 1]``, the FP32 classifier's.
    mask_probability
        float32 ``[N, 256, 256]``, the FP32 segmenter's, of every slice.
    gate, decision, mask
        The thresholds with which the decisions were made.
    route
        ``skip`` or ``segment``, ``[N]``.
    tumor
        ``true``, ``false`` or ``unknown``, ``[N]``.
    """

    images: NDArray[np.uint8]
    tumor_probability: NDArray[np.float32]
    mask_probability: NDArray[np.float32]
    gate: float
    decision: float
    mask: float
    route: tuple[str, ...]
    tumor: tuple[str, ...]


class Check(NamedTuple):
    """One thing that was compared.

    Attributes
    ----------
    name
        What was compared.
    passed
        Whether it is as it should be.
    found, wanted
        The figure and its limit, in words.
    """

    name: str
    passed: bool
    found: str
    wanted: str


def read_golden(bundle: Bundle) -> GoldenSlices:
    """Read a bundle's golden slices.

    Raises
    ------
    BundleError
        If the file is not of this contract.
    """
    content = io.BytesIO(bundle.read("$.golden"))
    try:
        with np.load(content, allow_pickle=False) as held:
            golden = GoldenSlices(
                images=held["images"],
                tumor_probability=held["tumor_probability"],
                mask_probability=held["mask_probability"],
                gate=float(held["gate"]),
                decision=float(held["decision"]),
                mask=float(held["mask"]),
                route=tuple(str(way) for way in held["route"]),
                tumor=tuple(str(value) for value in held["tumor"]),
            )
    except (KeyError, ValueError, TypeError, OSError, zipfile.BadZipFile) as error:
        raise _not_golden(bundle, str(error)) from None
    number = len(golden.images)
    shapes = (golden.images.shape, golden.tumor_probability.shape, golden.mask_probability.shape)
    wanted = ((number, 256, 256, 3), (number, 1), (number, 256, 256))
    if number == 0 or shapes != wanted or golden.images.dtype != np.uint8:
        raise _not_golden(bundle, f"arrays of {shapes}")
    if {len(golden.route), len(golden.tumor)} != {number} or set(golden.tumor) - set(_DECISIONS):
        raise _not_golden(bundle, f"decisions {golden.route}, {golden.tumor}")
    return golden


def verify(bundle: Bundle, pipeline: Pipeline) -> tuple[Check, ...]:
    """Compare a pipeline with the golden slices of its bundle.

    Parameters
    ----------
    bundle
        The bundle.
    pipeline
        The pipeline on the backend and in the precision in question.

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
    tolerance = bundle.manifest.golden.tolerances[pipeline.backend.precision]
    return tuple(_checks(golden, tolerance, pipeline))


def _checks(golden: GoldenSlices, tolerance: Tolerance, pipeline: Pipeline) -> Iterator[Check]:
    yield _thresholds(golden, pipeline.thresholds)
    yield _gate(pipeline.thresholds)
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
    cases = {
        below: Route.SKIP,
        held.gate: Route.SEGMENT,
        above: Route.SEGMENT,
        math.nan: Route.INDETERMINATE,
        math.inf: Route.INDETERMINATE,
    }
    # At the ends of 0..1 the neighbour is no probability.
    wrong = [p for p, way in cases.items() if route(p, held) is not way and not _outside(p)]
    return Check("gate", not wrong, f"{len(wrong)} wrong routes {wrong}", "none")


def _outside(probability: float) -> bool:
    return math.isfinite(probability) and not 0 <= probability <= 1


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
    """Bring a slice that is not square to the model's grid and back, pixel by pixel."""
    cropped = image[:, 31:226]
    padded = prepare(cropped)
    back = restore(padded.image[..., 1].astype(np.float32), padded.geometry)
    same = back.shape == cropped.shape[:2] and np.array_equal(back, cropped[..., 1])
    return Check("geometry", same, "exact" if same else "a padded slice moved", "exact")


def _decisions(name: str, golden: GoldenSlices, results: Sequence[Result]) -> Check:
    wanted = [
        (way == Route.SEGMENT.value, _DECISIONS[tumor])
        for way, tumor in zip(golden.route, golden.tumor, strict=True)
    ]
    found = [(result.segmented, result.tumor) for result in results]
    wrong = sum(a != b for a, b in zip(wanted, found, strict=True))
    return Check(name, wrong == 0, f"{wrong} of {len(wanted)} differ", "none")


def _masks(golden: GoldenSlices, results: Sequence[Result], tolerance: Tolerance) -> Check:
    """Compare the masks that the pipeline hands out, on the source grid."""
    worst = min(
        (
            dice(plane >= golden.mask, result.region.mask > 0)
            for plane, result in zip(golden.mask_probability, results, strict=True)
            if result.region is not None
        ),
        default=0.0,
    )
    return Check(
        "masks on the source grid",
        worst >= tolerance.mask_dice,
        f"Dice {worst:.4f}",
        f"at least {tolerance.mask_dice:g}",
    )


def _largest(errors: NDArray[np.float32]) -> float:
    """Return the largest error; infinite if any is NaN, so that no comparison hides it."""
    return float(errors.max()) if np.isfinite(errors).all() else math.inf


def _listed(values: tuple[float, ...]) -> str:
    return "gate {:.6g}, decision {:.6g}, mask {:.6g}".format(*values)


def _not_golden(bundle: Bundle, what: str) -> BundleError:
    return BundleError(
        f"{bundle.path}: $.golden: {bundle.manifest.golden.file}: {what}",
        accepted="the arrays that scanside export writes",
        remedy="export the bundle again",
    )
