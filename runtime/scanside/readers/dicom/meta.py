"""What a file's meta information must not say, read as pydicom will read it: whatever it holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from scanside.errors import InputError
from scanside.readers.dicom.values import text

if TYPE_CHECKING:
    import io

__all__ = ["broken_off", "check_meta"]

_DATA_AT: Final = 132
_META_GROUP: Final = b"\x02\x00"
_USUAL: Final = b"\x02\x00\x00\x00UL"
"""How meta information begins that pydicom reads as explicit little endian, and only so."""

_GROUP_LENGTH: Final = 0x00020000
_SYNTAX: Final = 0x00020010
_COMMAND_GROUP: Final = b"\x00\x00"
_GROUP_BYTES: Final = 2
_DEFLATED: Final = "1.2.840.10008.1.2.1.99"


def broken_off(source: str) -> InputError:
    """Return the error for a file that is not whole."""
    return InputError(
        f"{source}: the file breaks off, or holds no pixel data", accepted="whole files"
    )


def check_meta(file: io.BytesIO, source: str) -> None:
    """Refuse a file by its meta information, and leave it near its dataset.

    Parameters
    ----------
    file
        The whole file.
    source
        What to call it.

    Raises
    ------
    InputError
        If the dataset is deflated or begins with the command of a message, or if pydicom would
        drop the meta information, because a value in it has no end.
    """
    if _transfer_syntax(file, source) == _DEFLATED:
        # pydicom inflates at once and without a limit.
        raise InputError(
            f"{source}: the dataset is deflated",
            accepted="datasets that are not compressed as a whole",
            remedy="convert it with: dcmconv +te IN OUT",
        )
    if file.read(_GROUP_BYTES) == _COMMAND_GROUP:
        raise InputError(
            f"{source}: the file holds the command of a message (group 0000)",
            accepted="files of DICOM PS3.10, whose datasets begin at group 0004 or after it",
        )


def _transfer_syntax(file: io.BytesIO, source: str) -> str:
    """Return the TransferSyntaxUID, empty where there is none; leave the file at the dataset."""
    from pydicom import filereader

    file.seek(_DATA_AT)
    begins = file.read(len(_USUAL))
    file.seek(_DATA_AT)
    if begins == _USUAL:
        found = filereader.read_dataset(
            file,
            is_implicit_VR=False,
            is_little_endian=True,
            stop_when=_beyond_meta,
            specific_tags=[_GROUP_LENGTH, _SYNTAX],
        )
        first, syntax = found.get_item(_GROUP_LENGTH), found.get_item(_SYNTAX)
        if first is not None and syntax is not None and (first.VR, syntax.VR) == ("UL", "UI"):
            return (syntax.value or b"").decode("latin-1").strip("\0 ")
        file.seek(_DATA_AT)
    # pydicom itself makes out what this is; it takes twice as long. What is public of it takes a
    # path, or inflates.
    meta = filereader._read_file_meta_info(file)
    if begins.startswith(_META_GROUP) and not meta:  # dropped as a dataset is
        raise broken_off(source)
    return text(meta, "TransferSyntaxUID")


def _beyond_meta(tag: int, _: str | None, __: int) -> bool:
    return tag >> 16 != _GROUP_LENGTH >> 16
