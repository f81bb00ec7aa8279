"""The golden slices of a bundle: what they are and how they are read."""

from __future__ import annotations

import io
import zipfile
import zlib
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from scanside.errors import BundleError
from scanside.gate import Route

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from scanside.bundle import Bundle

__all__ = ["DECISIONS", "GoldenSlices", "encode_golden", "one_of_each_route", "read_golden"]

DECISIONS: Final = {"true": True, "false": False, "unknown": None}
"""What `GoldenSlices.tumor` says, and what it means."""

_RECORDED: Final = "recorded: "
"""What the names of arrays of `GoldenSlices.recorded` begin with."""

_MOST_BYTES: Final = 2**28
"""More than 500 slices: what a compressed file unpacks to is not bounded by its own size."""

_DAMAGED: Final = (KeyError, ValueError, TypeError, OSError, zipfile.BadZipFile, zlib.error)

_ROUTES: Final = {Route.SKIP.value, Route.SEGMENT.value}


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
    recorded
        float32 ``[N, 1]``: the INT8 classifier's own outputs, by the name of an arithmetic that
        gives the same on every device (`scanside.backends.arithmetic`).
    """

    images: NDArray[np.uint8]
    tumor_probability: NDArray[np.float32]
    mask_probability: NDArray[np.float32]
    gate: float
    decision: float
    mask: float
    route: tuple[str, ...]
    tumor: tuple[str, ...]
    recorded: Mapping[str, NDArray[np.float32]] = MappingProxyType({})


def read_golden(bundle: Bundle) -> GoldenSlices:
    """Read a bundle's golden slices.

    Raises
    ------
    BundleError
        If the file is not of this contract.
    """
    content = io.BytesIO(bundle.read("$.golden"))
    try:
        with zipfile.ZipFile(content) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > _MOST_BYTES:
            raise _not_golden(bundle, f"arrays of {size} bytes, at most {_MOST_BYTES} are read")
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
                recorded={
                    name.removeprefix(_RECORDED): held[name]
                    for name in held.files
                    if name.startswith(_RECORDED)
                },
            )
    except _DAMAGED as error:
        raise _not_golden(bundle, str(error)) from None
    number = len(golden.images)
    shapes = (golden.images.shape, golden.tumor_probability.shape, golden.mask_probability.shape)
    wanted = ((number, 256, 256, 3), (number, 1), (number, 256, 256))
    if number == 0 or shapes != wanted or golden.images.dtype != np.uint8:
        raise _not_golden(bundle, f"arrays of {shapes}")
    if any(values.shape != (number, 1) for values in golden.recorded.values()):
        raise _not_golden(bundle, "recorded outputs of another number of slices")
    known = set(golden.tumor) <= set(DECISIONS) and set(golden.route) <= _ROUTES
    if {len(golden.route), len(golden.tumor)} != {number} or not known:
        raise _not_golden(bundle, f"decisions {golden.route}, {golden.tumor}")
    return golden


def one_of_each_route(golden: GoldenSlices) -> GoldenSlices:
    """Return the first slice that is skipped and the first one that is segmented."""
    chosen = sorted({golden.route.index(way) for way in golden.route})
    return golden._replace(
        images=golden.images[chosen],
        tumor_probability=golden.tumor_probability[chosen],
        mask_probability=golden.mask_probability[chosen],
        route=tuple(golden.route[n] for n in chosen),
        tumor=tuple(golden.tumor[n] for n in chosen),
        recorded={name: values[chosen] for name, values in golden.recorded.items()},
    )


def encode_golden(golden: GoldenSlices) -> bytes:
    """Return ``golden.npz``.

    Parameters
    ----------
    golden
        The slices, with everything that is known of them.

    Returns
    -------
    bytes
        The same for the same slices: numpy dates the members of the archive 1980.
    """
    arrays = {name: np.asarray(value) for name, value in golden._asdict().items()}
    arrays.pop("recorded")
    arrays |= {f"{_RECORDED}{name}": values for name, values in golden.recorded.items()}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def _not_golden(bundle: Bundle, what: str) -> BundleError:
    return BundleError(
        f"{bundle.path}: $.golden: {bundle.manifest.golden.file}: {what}",
        accepted="the arrays that scanside export writes",
        remedy="export the bundle again",
    )
