"""The patient and the study of a result: those of its input, as far as they are valid.

Only what identifies patient and study is taken over. A value that DICOM does not allow is left out
and its attribute named, so that one broken attribute of the input does not spread. Text is decoded
already and becomes UTF-8 (ISO_IR 192), whatever character sets the input used.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["CHARACTER_SET", "Inherited", "inherit", "latest_moment"]

CHARACTER_SET: Final = "ISO_IR 192"
"""UTF-8 (PS3.3 C.12.1.1.2)."""


class Inherited(NamedTuple):
    """What a result takes over from its input.

    Attributes
    ----------
    attributes
        The valid ones, and empty ones that every object must have (type 2).
    dropped
        Keywords of the attributes that were not valid.
    """

    attributes: Dataset
    dropped: tuple[str, ...]


def inherit(source: Dataset) -> Inherited:
    """Take over patient and study.

    Parameters
    ----------
    source
        Any dataset of the study, its text decoded.
    """
    found, dropped = Dataset(), []
    found.SpecificCharacterSet = CHARACTER_SET
    found.StudyInstanceUID = str(source.StudyInstanceUID)
    for keyword, is_valid in _VALID.items():
        text = _text(source, keyword)
        if text and is_valid(text):
            setattr(found, keyword, text)
            continue
        if text:
            dropped.append(keyword)
        if keyword in _ALWAYS:
            setattr(found, keyword, "")
    return Inherited(found, tuple(dropped))


def latest_moment(datasets: Iterable[Dataset]) -> datetime | None:
    """Return the latest valid date and time at which any of the datasets was made, if any has one.

    Of each, the first pair counts that is valid: content, acquisition, series, study.
    """
    moments = [found for dataset in datasets if (found := _moment(dataset)) is not None]
    return max(moments, default=None)


def _moment(dataset: Dataset) -> datetime | None:
    for kind in ("Content", "Acquisition", "Series", "Study"):
        day, time = _text(dataset, f"{kind}Date"), _text(dataset, f"{kind}Time")
        if _is_date(day):
            hours = time[:6].ljust(6, "0") if _is_time(time) else "000000"
            return datetime.strptime(day + hours, "%Y%m%d%H%M%S")
    return None


_SEVERAL: Final = "\\"
"""Stands for several values where one is allowed: it separates values, so no value may hold it."""


def _text(dataset: Dataset, keyword: str) -> str:
    value = dataset.get(keyword)
    if value is None:
        return ""
    if isinstance(value, MultiValue):
        return _SEVERAL if len(value) > 1 else str(value[0]).strip()
    return str(value).strip()


def _matches(pattern: str) -> Callable[[str], bool]:
    compiled = re.compile(pattern)
    return lambda text: compiled.fullmatch(text) is not None


def _string(longest: int) -> Callable[[str], bool]:
    """No control character and no backslash (PS3.5 6.1.3, 6.2)."""
    return _matches(rf"[^\x00-\x1f\x7f-\x9f\\]{{1,{longest}}}")


def _is_name(text: str) -> bool:
    """Up to three groups of up to 64 characters, each of up to five components (PS3.5 6.2.1)."""
    groups = text.split("=")
    fits = all(len(group) <= 64 and group.count("^") <= 4 for group in groups)  # noqa: PLR2004
    return fits and len(groups) <= 3 and _string(3 * 64 + 2)(text)  # noqa: PLR2004


def _is_date(text: str) -> bool:
    try:
        datetime.strptime(text, "%Y%m%d")
    except ValueError:
        return False
    return len(text) == len("YYYYMMDD")


def _is_decimal(text: str) -> bool:
    return _DECIMAL(text) and 0 < float(text) < _BEYOND_ANYBODY


_DECIMAL: Final = _matches(r"(?=.{1,16}$)\+?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]{1,2})?")
_BEYOND_ANYBODY: Final = 1000.0
"""Metres, kilograms: sizes and weights that are not below it are written in other units."""

_is_time: Final = _matches(r"([01][0-9]|2[0-3])([0-5][0-9]([0-5][0-9](\.[0-9]{1,6})?)?)?")

_ALWAYS: Final = frozenset(
    {
        "PatientName",
        "PatientID",
        "PatientBirthDate",
        "PatientSex",
        "StudyDate",
        "StudyTime",
        "ReferringPhysicianName",
        "StudyID",
        "AccessionNumber",
    }
)
"""Type 2 in the Patient and General Study modules: there even if empty (PS3.3 C.7.1.1, C.7.2.1)."""

_VALID: Final[dict[str, Callable[[str], bool]]] = {
    "PatientName": _is_name,
    "PatientID": _string(64),
    "IssuerOfPatientID": _string(64),
    "PatientBirthDate": _is_date,
    "PatientSex": _matches("[MFO]"),
    "PatientAge": _matches("[0-9]{3}[DWMY]"),
    "PatientSize": _is_decimal,
    "PatientWeight": _is_decimal,
    "StudyDate": _is_date,
    "StudyTime": _is_time,
    "ReferringPhysicianName": _is_name,
    "StudyID": _string(16),
    "AccessionNumber": _string(16),
    "StudyDescription": _string(64),
    "TimezoneOffsetFromUTC": _matches(r"[+-](0[0-9]|1[0-4])[0-5][0-9]"),
}
"""What is taken over, and what its value must be (PS3.5 6.2; PS3.3 C.7.1.1, C.7.2, C.12.1)."""
