"""DICOM datasets that lack the preamble of a file, told by their first elements.

Old archives hold them. Left out as unknown, one of them would be missing at the end of a series
without a word, so that they are recognised, and then refused with what makes a file of them: where
the file meta information is missing too, only a guess says how they are encoded.

References
----------
DICOM PS3.10 7.1 (preamble and file meta information); PS3.5 7.1 (data elements).
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from scanside.errors import InputError

__all__ = ["lacks_preamble", "no_file"]

_PREFIX: Final = b"DICM"
_ROOT: Final = b"1.2.840.10008."
"""What the UIDs of the standard's SOP Classes begin with (PS3.5 9)."""

_SOP_CLASS: Final = {(0x0002, 0x0002), (0x0008, 0x0016)}
"""MediaStorageSOPClassUID and SOPClassUID: early in their groups, and in every object."""

_META: Final = 0x0002
_GROUPS: Final = (_META, 0x0008)
_LONG: Final = frozenset({b"OB", b"OW", b"SQ", b"UN", b"UT"})
"""Value representations whose length has 32 bits, of those that such elements may have."""


class _Element(NamedTuple):
    """An element: its tag, and where its value begins and ends."""

    tag: tuple[int, int]
    start: int
    stop: int


def lacks_preamble(head: bytes) -> bool:
    """Tell whether first bytes are those of a DICOM dataset without the preamble of a file.

    They are if elements follow each other, in rising order, from the first byte (or behind
    ``DICM`` there) to one that names a SOP Class of the standard.

    Parameters
    ----------
    head
        The first bytes of a file; a SOP Class lies in the first 512.
    """
    start = len(_PREFIX) if head.startswith(_PREFIX) else 0
    return any(
        _names_sop_class(head, start, order, implicit=implicit)
        for order, implicit in (("<", False), ("<", True), (">", False))
    )


def no_file(data: bytes, source: str) -> InputError:
    """Return the error for what does not begin as a DICOM file; says how to make one of it."""
    bare = lacks_preamble(data)
    if not bare:
        remedy = ""
    elif data.startswith(_PREFIX):
        remedy = "put its 128 bytes before it: (head -c 128 /dev/zero; cat IN) > OUT"
    elif data.startswith(struct.pack("<H", _META)):
        remedy = "put one before it: (head -c 128 /dev/zero; printf DICM; cat IN) > OUT"
    else:
        remedy = "make a file of it with: dcmconv IN OUT"
    return InputError(
        f"{source}: this is {'DICOM without the preamble of a' if bare else 'no DICOM'} file",
        accepted="files of DICOM PS3.10",
        remedy=remedy,
    )


def _names_sop_class(head: bytes, start: int, order: str, *, implicit: bool) -> bool:
    before = (0, -1)
    while (found := _element(head, start, order, implicit=implicit)) is not None:
        tag, start, stop = found
        if tag[0] not in _GROUPS or tag <= before:
            return False
        if tag in _SOP_CLASS:
            return head[start:stop].startswith(_ROOT)
        before, start = tag, stop
    return False


def _element(head: bytes, at: int, order: str, *, implicit: bool) -> _Element | None:
    """Read an element's tag and length; none where the head does not reach its value."""
    if at + 12 > len(head):
        return None
    group, element = struct.unpack_from(order + "HH", head, at)
    vr = head[at + 4 : at + 6]
    if implicit:
        size, start = struct.unpack_from(order + "I", head, at + 4)[0], at + 8
    elif not (vr.isalpha() and vr.isupper()):
        return None
    elif vr in _LONG:
        size, start = struct.unpack_from(order + "I", head, at + 8)[0], at + 12
    else:
        size, start = struct.unpack_from(order + "H", head, at + 6)[0], at + 8
    return _Element((group, element), start, start + size)
