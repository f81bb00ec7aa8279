"""INFER requests: what is accepted, decided on the fixed part alone, before memory is taken."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypedDict

import numpy as np

from scanside.errors import ScansideError, UsageError
from scanside.preprocess import Window
from scanside.serve.codes import Cause, Dtype, InferFlag, MaskForm
from scanside.serve.masks import mask_offset
from scanside.study.grid import Spacing, pixel_aspect

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scanside.serve import wire
    from scanside.serve.limits import Limits
    from scanside.serve.shared import Shared

__all__ = ["DTYPES", "Frame", "Refusal", "accept"]

DTYPES: Final[dict[int, np.dtype[Any]]] = {
    Dtype.U8: np.dtype("u1"),
    Dtype.U16: np.dtype("<u2"),
    Dtype.F32: np.dtype("<f4"),
}

# A number, since the complement of a flag holds only the bits that have names.
_ALL_FLAGS: Final = sum(int(flag) for flag in InferFlag)

_MASK_FORMS: Final = frozenset(int(form) for form in MaskForm)


class Refusal(Exception):  # noqa: N818 - it is an answer, not a failure
    """A request that gets an ERROR.

    Parameters
    ----------
    cause
        Which one.
    error
        Its exit code and its text.
    """

    def __init__(self, cause: Cause, error: ScansideError) -> None:
        super().__init__(str(error))
        self.cause: Final = cause
        self.error: Final = error


class Asked(TypedDict):
    """What `scanside.pipeline.prepare` is told beside the pixels."""

    window: Window | None
    fill: bool
    aspect: float


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame that is accepted: all that is known of it but its pixels.

    Attributes
    ----------
    shape, dtype
        Of the pixels.
    size
        Bytes of the pixels.
    window, spacing
        As in `scanside.runner.Options`; none where they were not given.
    fill
        Whether FLAIR may stand in.
    mask_form
        How the mask is wanted.
    slot
        Which slot it lies in; none where it comes with the request.
    deadline_s
        Seconds after which it must have begun; none for no deadline.
    """

    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    size: int
    window: Window | None
    spacing: Spacing | None
    fill: bool
    mask_form: MaskForm
    slot: int | None
    deadline_s: float | None

    @property
    def held(self) -> int:
        """Bytes that the server holds for it: pixels and mask, unless they are in a slot."""
        return 0 if self.slot is not None else self.size + self.shape[0] * self.shape[1]

    @property
    def asked(self) -> Asked:
        """How it is to be prepared, as `scanside.pipeline.prepare` takes it."""
        return {
            "window": self.window, "fill": self.fill, "aspect": pixel_aspect(self.spacing),
        }  # fmt: skip

    def pixels(self, content: memoryview | NDArray[np.uint8]) -> NDArray[np.generic]:
        """Return the pixels: a view of what was sent, or of the slot.

        Parameters
        ----------
        content
            Bytes, at least `size`.
        """
        pixels: NDArray[np.generic] = np.frombuffer(
            content, self.dtype, math.prod(self.shape)
        ).reshape(self.shape)
        return pixels


def accept(asked: wire.Infer, payload: int, limits: Limits, shared: Shared | None) -> Frame:
    """Decide whether a frame is accepted, as far as that can be told without it.

    Parameters
    ----------
    asked
        The fixed part of INFER.
    payload
        Bytes that follow it.
    limits
        The server's.
    shared
        The client's memory, if any.

    Raises
    ------
    Refusal
        If it is not.
    """
    unknown = asked.flags & ~_ALL_FLAGS
    if unknown or asked.dtype not in DTYPES or asked.mask_form not in _MASK_FORMS:
        raise Refusal(
            Cause.UNSUPPORTED,
            UsageError(
                f"dtype {asked.dtype}, mask form {asked.mask_form}, flags {asked.flags:#x}",
                accepted=f"dtypes 1 to 3, mask forms 0 to 2, flags within {_ALL_FLAGS:#x}",
            ),
        )
    dtype = DTYPES[asked.dtype]
    # A shape that the pipeline does not take is left to it: it rejects the image with a reason.
    size = asked.height * asked.width * asked.channels * dtype.itemsize
    if size > limits.max_payload:
        raise Refusal(
            Cause.TOO_LARGE,
            UsageError(
                f"a frame of {asked.height} x {asked.width} x {asked.channels} {dtype.name}"
                f" has {size} bytes",
                accepted=f"up to {limits.max_payload} bytes",
                remedy="start the server with a larger --max-frame",
            ),
        )
    flags = InferFlag(asked.flags)
    in_slot = InferFlag.SLOT in flags
    _check_place(asked, size, payload, shared, in_slot=in_slot)
    return Frame(
        shape=(asked.height, asked.width, asked.channels),
        dtype=dtype,
        size=size,
        window=Window(asked.window_low, asked.window_high) if InferFlag.WINDOW in flags else None,
        spacing=_spacing(asked) if InferFlag.SPACING in flags else None,
        fill=InferFlag.FILL_MISSING in flags,
        mask_form=MaskForm(asked.mask_form),
        slot=asked.slot if in_slot else None,
        deadline_s=asked.deadline_ms / 1e3 if asked.deadline_ms else None,
    )


def _check_place(
    asked: wire.Infer, size: int, payload: int, shared: Shared | None, *, in_slot: bool
) -> None:
    """Refuse a frame that is not where it is said to be."""
    if size == 0:
        raise _senseless(f"a frame of {asked.height} x {asked.width} x {asked.channels}", "pixels")
    if payload != (0 if in_slot else size):
        raise _senseless(f"a payload of {payload} bytes", f"{0 if in_slot else size} bytes")
    if not in_slot:
        return
    if shared is None or asked.slot >= shared.slots:
        raise Refusal(
            Cause.SHARED_MEMORY,
            UsageError(
                f"slot {asked.slot}",
                accepted="no slot: there was no ATTACH" if shared is None
                else f"0 to {shared.slots - 1}",
            ),
        )  # fmt: skip
    needed = mask_offset(size) + asked.height * asked.width
    if needed > shared.slot_bytes:
        raise Refusal(
            Cause.SHARED_MEMORY,
            UsageError(
                f"frame and mask need {needed} bytes", accepted=f"slots of {shared.slot_bytes}"
            ),
        )


def _spacing(asked: wire.Infer) -> Spacing:
    spacing = (asked.spacing_row, asked.spacing_column)
    if not all(math.isfinite(value) and value > 0 for value in spacing):
        raise _senseless(f"a spacing of {spacing} mm", "millimetres above 0")
    return Spacing(*spacing)


def _senseless(given: str, accepted: str) -> Refusal:
    return Refusal(Cause.REQUEST, UsageError(given, accepted=accepted))
