"""What a synthetic study is made of, before it is DICOM: values, geometry, identity."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

import numpy as np

from scanside.preprocess import CHANNELS, Window
from scanside.study.grid import Grid
from scanside.study.orient import seen

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scanside.study.model import View

__all__ = ["SCALES", "Identity", "Scale", "SeriesPlan", "plan_study", "turn", "uid"]

Scale = Literal["exact", "odd", "unwindowed"]
SCALES: Final[tuple[Scale, ...]] = ("exact", "odd", "unwindowed")


class Identity(NamedTuple):
    """A synthetic patient.

    Attributes
    ----------
    name, number
        PatientName and PatientID.
    birth_date, sex
        As DICOM writes them.
    """

    name: str = "Synthetic^Patient"
    number: str = "SYN-0001"
    birth_date: str = "19700101"
    sex: str = "O"


class _Protocol(NamedTuple):
    """What a scanner would say about a sequence; usual values at 1.5 T."""

    description: str
    scanning: tuple[str, ...]
    repetition_ms: float
    echo_ms: float
    inversion_ms: float | None
    agent: str


_PROTOCOLS: Final[dict[str, _Protocol]] = {
    "pre-contrast": _Protocol("T1 AX PRE", ("SE",), 550.0, 12.0, None, ""),
    "FLAIR": _Protocol("FLAIR AX", ("SE", "IR"), 9000.0, 120.0, 2500.0, ""),
    "post-contrast": _Protocol("T1 AX POST", ("SE",), 550.0, 12.0, None, "GADOLINIUM"),
}

_EXACT: Final = {
    "pre-contrast": (7, 100, 0.5, -20.0),
    "FLAIR": (13, 31, 0.25, 4.0),
    "post-contrast": (11, 5, 2.0, 0.0),
}
"""Gain and offset to 12 bits, then slope and intercept: binary fractions, so that the window
inverts them without rounding."""

_ODD: Final = {
    "pre-contrast": (3.37, 17.3, 1.7, -3.3),
    "FLAIR": (5.83, 41.6, 0.37, 11.1),
    "post-contrast": (15.21, 0.4, 0.013, 2.9),
}
"""Gains, offsets and slopes that are no whole numbers: values are rounded where they are stored,
and slopes and windows where they are written."""


@dataclass(frozen=True, slots=True, eq=False)
class SeriesPlan:
    """A series before it is DICOM.

    Attributes
    ----------
    sequence
        One of `scanside.preprocess.CHANNELS`.
    number
        SeriesNumber.
    stored
        uint8, uint16 or int16 ``[slices, rows, columns]``.
    grid
        Where they are.
    slope, intercept
        Of the modality's scale.
    window
        What the files declare; none for nothing.
    protocol
        What a scanner would say.
    identity
        Whose it is.
    study
        What the UIDs are made of.
    inverted
        MONOCHROME1.
    """

    sequence: str
    number: int
    stored: NDArray[np.generic]
    grid: Grid
    slope: float
    intercept: float
    window: Window | None
    protocol: _Protocol
    identity: Identity
    study: str
    inverted: bool = False

    @property
    def series_uid(self) -> str:
        """SeriesInstanceUID."""
        return uid(self.study, "series", self.number)


def uid(*parts: object) -> str:
    """Return a UID below ``2.25.`` made of a hash of the parts: the same input, the same UID."""
    digest = hashlib.sha256("\0".join(map(str, parts)).encode()).digest()
    return f"2.25.{int.from_bytes(digest[:16], 'big')}"


def plan_study(
    images: NDArray[np.uint8],
    *,
    study: str,
    identity: Identity | None = None,
    scale: Scale = "exact",
    spacing: tuple[float, float, float] = (0.9, 0.9, 5.0),
) -> list[SeriesPlan]:
    """Plan the three series of a study.

    Parameters
    ----------
    images
        uint8 ``[slices, rows, columns, 3]`` in the order of `CHANNELS`.
    study
        What the study's UIDs are made of.
    identity
        Whose it is.
    scale
        ``exact``: 12 bits with a window that gives the 8 bits back exactly. ``odd``: gains and
        offsets that are no whole numbers. ``unwindowed``: ``odd`` without
        a window.
    spacing
        Millimetres between rows, columns and slices. The dataset does not say what they were.
    """
    slices, rows, columns = images.shape[:3]
    down, across, between = spacing
    affine = np.diag([across, down, between, 1.0])
    affine[:3, 3] = -across * columns / 2, -down * rows / 2, -between * slices / 2
    grid = Grid(affine, (slices, rows, columns), uid(study, "frame of reference"))
    scales = _EXACT if scale == "exact" else _ODD
    plans = []
    for number, sequence in enumerate(CHANNELS, 1):
        gain, offset, slope, intercept = scales[sequence]
        stored = np.rint(images[..., number - 1] * float(gain) + offset).astype(np.uint16)
        ends = [(level * gain + offset) * slope + intercept for level in (0, 255)]
        plans.append(
            SeriesPlan(
                sequence=sequence,
                number=number,
                stored=stored,
                grid=grid,
                slope=slope,
                intercept=intercept,
                window=None if scale == "unwindowed" else Window(*ends),
                protocol=_PROTOCOLS[sequence],
                identity=identity or Identity(),
                study=study,
            )
        )
    return plans


def turn(plan: SeriesPlan, view: View) -> SeriesPlan:
    """Exchange and turn the axes of a series; every voxel keeps its place in the patient."""
    return replace(
        plan, stored=np.ascontiguousarray(view.apply(plan.stored)), grid=seen(plan.grid, view)
    )
