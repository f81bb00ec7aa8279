"""Answers as bytes: RESULT and ERROR, from what the pipeline found or what was raised."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from scanside.pipeline import Result
from scanside.serve import wire
from scanside.serve.codes import Cause, ErrorFlag, Kind, MaskForm, ResultFlag, Status, Tumor
from scanside.serve.masks import encode_runs, mask_offset
from scanside.serve.wire import BODIES, MAX_TEXT, NO_SLOT

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scanside.errors import ScansideError
    from scanside.serve.requests import Frame

__all__ = ["Answer", "Spent", "encode_error", "encode_result", "rejected"]

Answer = tuple[bytes | memoryview, ...]
"""A message in parts, to be sent one after the other."""

_STATUS: Final = {
    "ok": Status.OK,
    "indeterminate": Status.INDETERMINATE,
    "rejected": Status.REJECTED,
}
_TUMOR: Final = {False: Tumor.FALSE, True: Tumor.TRUE, None: Tumor.UNKNOWN}


class Spent(NamedTuple):
    """Seconds from a request's last byte to the begin of its computation, and to its answer."""

    queue: float
    total: float


def rejected(error: ScansideError) -> Result:
    """Return what is known of a slice that is not accepted."""
    return Result("rejected", str(error), None, None, False, None, (), {})  # noqa: FBT003


def encode_result(
    number: int,
    frame: Frame,
    result: Result,
    spent: Spent,
    *,
    null: bool = False,
) -> tuple[Answer, bytes | memoryview]:
    """Return RESULT, and the mask where it goes into the slot.

    Parameters
    ----------
    number
        The request's id.
    frame
        The request.
    result
        What was found.
    spent
        How long it took.
    null
        Whether the result is made up.

    Returns
    -------
    tuple
        The message, with the mask unless the frame was in a slot; and the mask if it was.
    """
    region, probability = result.region, result.tumor_probability
    box = None if region is None else region.box
    spacing = None if region is None else frame.spacing
    form, mask = _mask(None if region is None else region.mask, frame.mask_form)
    in_slot = frame.slot is not None
    timing = result.timings_ms.get
    flags = (
        (ResultFlag.PROBABILITY if probability is not None else 0)
        | (ResultFlag.AREA if region is not None else 0)
        | (ResultFlag.AREA_MM2 if spacing is not None else 0)
        | (ResultFlag.BOX if box is not None else 0)
        | (ResultFlag.FILLED if result.filled else 0)
        | (ResultFlag.SLOT if in_slot else 0)
        | (ResultFlag.NULL_BACKEND if null else 0)
    )
    area = 0 if region is None else region.area
    body = BODIES.result.encode(
        wire.Result(
            status=_STATUS[result.status],
            tumor=_TUMOR[result.tumor],
            segmented=int(result.segmented),
            mask_form=form,
            flags=flags,
            tumor_probability=math.nan if probability is None else probability,
            area_px=area,
            components=0 if region is None else region.components,
            area_mm2=math.nan if spacing is None else area * spacing[0] * spacing[1],
            box_top=0 if box is None else box.top,
            box_left=0 if box is None else box.left,
            box_bottom=0 if box is None else box.bottom,
            box_right=0 if box is None else box.right,
            height=frame.shape[0],
            width=frame.shape[1],
            queue_us=_microseconds(spent.queue),
            preprocess_us=_microseconds(timing("preprocess", 0.0) / 1e3),
            classify_us=_microseconds(timing("classify", 0.0) / 1e3),
            segment_us=_microseconds(timing("segment", 0.0) / 1e3),
            postprocess_us=_microseconds(timing("postprocess", 0.0) / 1e3),
            total_us=_microseconds(spent.total),
            mask_bytes=len(mask),
            mask_offset=mask_offset(frame.size) if in_slot else 0,
            slot=NO_SLOT if frame.slot is None else frame.slot,
        )
    )
    reason = _text(result.reason or "")
    inline, beside = (b"", mask) if in_slot else (mask, b"")
    message = wire.encode(Kind.RESULT, number, body, len(inline) + len(reason))
    return (message, inline, reason), beside


def encode_error(number: int, cause: Cause, error: ScansideError, *, fatal: bool = False) -> Answer:
    """Return ERROR.

    Parameters
    ----------
    number
        The request's id; 0 for none.
    cause, error
        Why.
    fatal
        Whether the connection ends after it.
    """
    content = _text(str(error))
    flags = ErrorFlag.FATAL if fatal else 0
    body = BODIES.error.encode(wire.Error(error.exit_code, cause, flags))
    return (wire.encode(Kind.ERROR, number, body, len(content)) + content,)


def _mask(mask: NDArray[np.uint8] | None, wanted: MaskForm) -> tuple[MaskForm, bytes | memoryview]:
    if mask is None or wanted is MaskForm.NONE:
        return MaskForm.NONE, b""
    if wanted is MaskForm.RUNS and len(runs := encode_runs(mask)) <= mask.size:
        return MaskForm.RUNS, runs
    return MaskForm.BYTES, np.ascontiguousarray(mask).data.cast("B")


def _microseconds(seconds: float) -> int:
    return min(round(seconds * 1e6), 2**32 - 1)


def _text(value: str) -> bytes:
    return value.encode(errors="replace")[:MAX_TEXT].decode(errors="ignore").encode()
