"""What an object is that has come: its UIDs, and nothing else of it.

References
----------
C-STORE statuses: DICOM PS3.4, table B.2-1. UIDs: PS3.5, section 9.1.
"""

from __future__ import annotations

import hashlib
import io
import re
from typing import TYPE_CHECKING, Final, cast

from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag, Tag
from pydicom.uid import (
    UID,
    EnhancedMRImageStorage,
    LegacyConvertedEnhancedMRImageStorage,
    MRImageStorage,
)

from scanside.errors import InputError
from scanside.listen.spool import Received

if TYPE_CHECKING:
    from pydicom import Dataset
    from pynetdicom.dimse_primitives import C_STORE
    from pynetdicom.events import Event

__all__ = ["ANALYSED", "RefusedError", "identify"]

_NOT_OF_CLASS: Final = 0xA900
_NOT_UNDERSTOOD: Final = 0xC000

ANALYSED: Final = (
    MRImageStorage,
    EnhancedMRImageStorage,
    LegacyConvertedEnhancedMRImageStorage,
)
"""What studies are made of; every other storage class is set aside."""

_UID: Final = re.compile(r"[0-9]+(\.[0-9]+)*")
_LONGEST_UID: Final = 64
"""PS3.5, section 9.1."""

_WANTED_TAGS: Final[list[BaseTag | int]] = [
    Tag(keyword) for keyword in ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID")
]
_STUDY_INSTANCE_UID: Final = Tag("StudyInstanceUID")


class RefusedError(InputError):
    """An object that is refused.

    Parameters
    ----------
    given
        Why; it holds nothing of the object.
    status
        The answer's status.
    """

    def __init__(self, given: str, status: int) -> None:
        super().__init__(given)
        self.status = status


def identify(event: Event) -> Received:
    """Read who an object is; its data set is not looked at beyond that.

    Parameters
    ----------
    event
        Of a C-STORE request.

    Raises
    ------
    RefusedError
        If it can't be read, or is not what its request says.
    """
    request = cast("C_STORE", event.request)
    sop_class, sop_instance = str(request.AffectedSOPClassUID), str(request.AffectedSOPInstanceUID)
    if not (_is_uid(sop_class) and _is_uid(sop_instance)):
        raise RefusedError("a request without valid UIDs", _NOT_UNDERSTOOD)
    syntax = str(event.context.transfer_syntax)
    data = event.encoded_dataset(include_meta=False)
    digest = hashlib.sha256(syntax.encode() + b"\0")
    digest.update(data)
    study: str | None = None
    if sop_class in ANALYSED:
        study = _study_of(data, syntax, sop_class, sop_instance)
    return Received(sop_class, sop_instance, study, event.encoded_dataset(), digest.hexdigest())


def _study_of(data: bytes, syntax: str, sop_class: str, sop_instance: str) -> str:
    """Return the StudyInstanceUID of an object, which must be the one that was announced."""
    try:
        head = read_dataset(
            io.BytesIO(data),
            is_implicit_VR=UID(syntax).is_implicit_VR,
            is_little_endian=UID(syntax).is_little_endian,
            stop_when=_beyond_study,
            specific_tags=_WANTED_TAGS,
        )
        found = [_text(head, tag) for tag in _WANTED_TAGS]
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - pydicom raises what it meets on a damaged data set
        raise RefusedError(
            f"a data set that can't be read ({type(error).__name__})", _NOT_UNDERSTOOD
        ) from None
    if found[:2] != [sop_class, sop_instance]:
        raise RefusedError("a data set with other UIDs than its request", _NOT_OF_CLASS)
    if not _is_uid(found[2]):
        raise RefusedError("a data set without a valid StudyInstanceUID", _NOT_OF_CLASS)
    return found[2]


def _text(head: Dataset, tag: BaseTag | int) -> str:
    """Return a UID as it is encoded, without pydicom's opinion on it."""
    element = head.get_item(tag)
    value = b"" if element is None else element.value
    return value.decode("ascii").strip("\0 ") if isinstance(value, bytes) else ""


def _beyond_study(tag: BaseTag, _: str | None, __: int) -> bool:
    return int(tag) > int(_STUDY_INSTANCE_UID)


def _is_uid(text: str) -> bool:
    return len(text) <= _LONGEST_UID and _UID.fullmatch(text) is not None
