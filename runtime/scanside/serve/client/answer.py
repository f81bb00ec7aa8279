"""What a client gets: an answer, an error of the server, or the news that a request is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from scanside.errors import BackendError, ScansideError
from scanside.records import BoundingBox
from scanside.serve.codes import Cause, ErrorFlag, MaskForm, ResultFlag, Status, Tumor
from scanside.serve.masks import decode_runs
from scanside.serve.wire import BODIES, WireError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scanside.records import Status as StatusName
    from scanside.serve import wire
    from scanside.serve.client.stream import Message

__all__ = ["Answer", "LostError", "RemoteError", "decode_answer", "decode_error"]

_STAGES: Final = ("queue", "preprocess", "classify", "segment", "postprocess", "total")
_STATUS: Final[dict[int, StatusName]] = {
    Status.OK: "ok",
    Status.INDETERMINATE: "indeterminate",
    Status.REJECTED: "rejected",
}
_TUMOR: Final = {Tumor.FALSE: False, Tumor.TRUE: True, Tumor.UNKNOWN: None}


class RemoteError(ScansideError):
    """An ERROR of the server.

    Parameters
    ----------
    text
        What it says.
    number
        The request's id; 0 for none.
    code
        The exit code that the command line would have.
    cause
        Which of the protocol's causes.
    fatal
        Whether the connection has ended.
    """

    def __init__(self, text: str, *, number: int, code: int, cause: Cause, fatal: bool) -> None:
        super().__init__(text)
        self.number: Final = number
        self.code: Final = code
        self.cause: Final = cause
        self.fatal: Final = fatal


class LostError(BackendError):
    """A request whose server has gone: it may have been computed or not.

    Parameters
    ----------
    number
        The request's id.
    why
        What is known.
    """

    def __init__(self, number: int, why: str) -> None:
        super().__init__(f"request {number} is lost: {why}", remedy="ask again")
        self.number: Final = number


class Answer(NamedTuple):
    """What was found in one frame.

    Attributes
    ----------
    number
        The request's id.
    status, reason, tumor, tumor_probability, segmented, area_px, area_mm2, components, box
        As in `scanside.records.SliceResult`.
    filled
        Whether FLAIR stood in for the other sequences.
    mask
        uint8 ``[H, W]``, 0 or 1; none where the slice was not segmented or no mask was asked for.
    timings_us
        Microseconds by stage: queue, preprocess, classify, segment, postprocess, total.
    made_up
        Whether nothing was computed: the null backend.
    """

    number: int
    status: StatusName
    reason: str | None
    tumor: bool | None
    tumor_probability: float | None
    segmented: bool
    area_px: int | None
    area_mm2: float | None
    components: int | None
    box: BoundingBox | None
    filled: bool
    mask: NDArray[np.uint8] | None
    timings_us: dict[str, int]
    made_up: bool


def decode_answer(message: Message, slot: memoryview | None) -> Answer:
    """Return what RESULT says.

    Parameters
    ----------
    message
        The message.
    slot
        The bytes of the request's slot; the mask is copied out of it.

    Raises
    ------
    WireError
        If it contradicts itself.
    """
    found = BODIES.result.decode(message.body)
    flags = ResultFlag(found.flags)
    inline = 0 if slot is not None else found.mask_bytes
    place: bytes | memoryview = message.payload if slot is None else slot
    content = place[found.mask_offset : found.mask_offset + found.mask_bytes]
    if len(content) != found.mask_bytes:
        raise WireError(f"a mask of {found.mask_bytes} bytes in {len(place)}")
    reason = message.payload[inline:].decode(errors="replace")
    box = BoundingBox(
        top=found.box_top, left=found.box_left, bottom=found.box_bottom, right=found.box_right
    )
    return Answer(
        number=message.header.id,
        status=_STATUS[found.status],
        reason=reason or None,
        tumor=_TUMOR[Tumor(found.tumor)],
        tumor_probability=found.tumor_probability if flags & ResultFlag.PROBABILITY else None,
        segmented=bool(found.segmented),
        area_px=found.area_px if flags & ResultFlag.AREA else None,
        area_mm2=found.area_mm2 if flags & ResultFlag.AREA_MM2 else None,
        components=found.components if flags & ResultFlag.AREA else None,
        box=box if flags & ResultFlag.BOX else None,
        filled=bool(flags & ResultFlag.FILLED),
        mask=_mask(found, content),
        timings_us={stage: getattr(found, f"{stage}_us") for stage in _STAGES},
        made_up=bool(flags & ResultFlag.NULL_BACKEND),
    )


def decode_error(message: Message) -> RemoteError:
    """Return what ERROR says."""
    error = BODIES.error.decode(message.body)
    return RemoteError(
        message.payload.decode(errors="replace"),
        number=message.header.id,
        code=error.code,
        cause=Cause(error.cause),
        fatal=bool(error.flags & ErrorFlag.FATAL),
    )


def _mask(found: wire.Result, content: bytes | memoryview) -> NDArray[np.uint8] | None:
    if found.mask_form == MaskForm.NONE:
        return None
    if found.mask_form == MaskForm.RUNS:
        return decode_runs(content, found.height, found.width)
    if found.mask_bytes != found.height * found.width:
        raise WireError(f"a mask of {found.mask_bytes} bytes", accepted="one byte a pixel")
    mask: NDArray[np.uint8] = np.frombuffer(content, np.uint8).copy()
    return mask.reshape(found.height, found.width)
