"""Named variants of a synthetic study: good ones that must read alike, bad ones to be refused."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from scanside.study.grid import Grid
from scanside.study.model import View
from scanside_training.dicom.plan import SeriesPlan, turn, uid

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydicom import FileDataset

    from scanside.study.reasons import Reason

__all__ = ["BAD", "GOOD", "Bad", "oblique", "turned"]

Files = list[list["FileDataset"]]
"""The files of each series, FLAIR's the second."""

_FLAIR: Final = 1


def turned(plans: list[SeriesPlan], view: View) -> list[SeriesPlan]:
    """Exchange and turn axes of every series."""
    return [turn(plan, view) for plan in plans]


def oblique(plans: list[SeriesPlan], degrees: float = 12.0) -> list[SeriesPlan]:
    """Tilt the whole study about the patient's left-right axis, as slices in an oblique plane."""
    angle = np.radians(degrees)
    tilt = np.eye(4)
    tilt[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return [
        replace(
            plan,
            grid=Grid(tilt @ plan.grid.affine, plan.grid.shape, plan.grid.frame_of_reference_uid),
        )
        for plan in plans
    ]


def _inverted(plans: list[SeriesPlan]) -> list[SeriesPlan]:
    """MONOCHROME1: the largest stored value is black."""
    made = []
    for plan in plans:
        top = int(plan.stored.max()) + int(plan.stored.min())
        window = plan.window
        if window is not None:  # of the values that are stored now
            mirror = top * plan.slope + 2 * plan.intercept
            window = type(window)(mirror - window.high, mirror - window.low)
        stored = (top - plan.stored.astype(np.int32)).astype(plan.stored.dtype)
        made.append(replace(plan, stored=stored, window=window, inverted=True))
    return made


def _eight_bit(plans: list[SeriesPlan]) -> list[SeriesPlan]:
    """8 bits stored, no scale, no window."""
    made = []
    for plan in plans:
        if plan.window is None:
            made.append(plan)
            continue
        low, high = plan.window
        values = plan.stored.astype(np.float64) * plan.slope + plan.intercept
        stored = np.rint((values - low) * 255 / (high - low)).astype(np.uint8)
        made.append(replace(plan, stored=stored, slope=1.0, intercept=0.0, window=None))
    return made


GOOD: Final[dict[str, Callable[[list[SeriesPlan]], list[SeriesPlan]]]] = {
    "plain": lambda plans: plans,
    "flipped": lambda plans: turned(plans, View((0, 1, 2), (False, True, True))),
    "reversed": lambda plans: turned(plans, View((0, 1, 2), (True, False, False))),
    "transposed": lambda plans: turned(plans, View((0, 2, 1), (False, False, False))),
    "oblique": oblique,
    "monochrome1": _inverted,
    "eight-bit": _eight_bit,
}
"""Variants whose masks are those of the plain study, voxel for voxel in the patient."""


class Bad(NamedTuple):
    """A variant that is refused.

    Attributes
    ----------
    reason
        The name of the reason.
    spoil
        Makes it of the files of the plain study.
    """

    reason: Reason
    spoil: Callable[[Files], Any]


def _set(keyword: str, value: object, *, series: int = _FLAIR) -> Callable[[Files], None]:
    def spoil(files: Files) -> None:
        for dataset in files[series]:
            setattr(dataset, keyword, value)

    return spoil


def _move(slices: slice, by: float) -> Callable[[Files], None]:
    """Move slices of FLAIR along the patient's axis, in millimetres."""

    def spoil(files: Files) -> None:
        for dataset in files[_FLAIR][slices]:
            x, y, z = dataset.ImagePositionPatient
            dataset.ImagePositionPatient = [x, y, f"{float(z) + by:.4f}"]

    return spoil


def _mix(files: Files) -> None:
    for dataset in files[_FLAIR][::2]:
        dataset.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]


def _other_sop(sop_class: str) -> Callable[[Files], None]:
    def spoil(files: Files) -> None:
        from pydicom.uid import UID

        for dataset in files[_FLAIR]:
            dataset.SOPClassUID = sop_class
            dataset.file_meta.MediaStorageSOPClassUID = UID(sop_class)

    return spoil


def _other_patient(files: Files) -> None:
    for dataset in files[2]:
        dataset.PatientID, dataset.PatientName = "SYN-9999", "Other^Synthetic"


def _shift_in_plane(files: Files) -> None:
    for number, dataset in enumerate(files[_FLAIR]):
        x, y, z = dataset.ImagePositionPatient
        dataset.ImagePositionPatient = [f"{float(x) + number:.4f}", y, z]


def _double(files: Files) -> None:
    from copy import deepcopy

    again = deepcopy(files[_FLAIR])
    for dataset in again:
        dataset.SeriesInstanceUID = uid(dataset.SeriesInstanceUID, "again")
        dataset.SOPInstanceUID = uid(dataset.SOPInstanceUID, "again")
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        dataset.SeriesNumber = 9
    files.append(again)


BAD: Final[dict[str, Bad]] = {
    "mixed-orientations": Bad("mixed orientations", _mix),
    "duplicate-position": Bad("duplicate positions", _move(slice(3, 4), 5.0)),
    "missing-position": Bad("missing positions", lambda files: files[_FLAIR].pop(3)),
    "varying-spacing": Bad("varying spacing", _move(slice(5, None), 1.7)),
    "sheared": Bad("slices off the normal", _shift_in_plane),
    "localizer": Bad("localizer", _set("ImageType", ["ORIGINAL", "PRIMARY", "LOCALIZER", "SE"])),
    "wrong-modality": Bad("wrong modality", _set("Modality", "CT")),
    "wrong-body-part": Bad("wrong body part", _set("BodyPartExamined", "KNEE")),
    "secondary-capture": Bad("secondary capture", _other_sop("1.2.840.10008.5.1.4.1.1.7")),
    "different-patients": Bad("different patients", _other_patient),
    "other-frame": Bad(
        "other frame of reference", _set("FrameOfReferenceUID", uid("elsewhere"), series=2)
    ),
    "missing-sequence": Bad("missing sequence", lambda files: files.pop(2)),
    "two-flairs": Bad("ambiguous series", _double),
    "no-position": Bad("no geometry", _set("ImagePositionPatient", None)),
    "colour": Bad("pixel data", _set("PhotometricInterpretation", "RGB")),
}
"""Variants of classic files that are refused, each for its reason."""
