"""Series of DICOM and NIfTI files behind one face, for those who choose and those who assemble."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Final, Protocol

from scanside.assembly.rules import PARTED, Attributes
from scanside.discretion import refusing
from scanside.readers.dicom.header import Sop
from scanside.readers.dicom.values import item, number, text, texts
from scanside.study.identity import IMPLEMENTATION_CLASS_UID, MANUFACTURER
from scanside.study.reasons import refused
from scanside.study.stack import Stack

if TYPE_CHECKING:
    from pydicom import Dataset
    from pydicom.tag import BaseTag

    from scanside.errors import InputError
    from scanside.readers.dicom.header import Header
    from scanside.readers.dicom.series import Series
    from scanside.readers.nifti import NiftiFile
    from scanside.study.model import FrameReference, SourceKind
    from scanside.study.volume import Volume

__all__ = ["Candidate", "DicomCandidate", "NiftiCandidate", "is_own_result"]


_BIDS_LABELS: Final = re.compile("^sub-(?!(?i:t[12]|pre|post))[0-9A-Za-z]+_(?:ses-[0-9A-Za-z]+_)?")
"""How names of the Brain Imaging Data Structure begin: whose image and of which session, which says
nothing of the sequence. "sub" elsewhere, and before a sequence, is a subtraction."""

_BRATS: Final = re.compile("^brats.*[0-9][-_](?=[a-z0-9]+$)", re.IGNORECASE)
"""The same of the BraTS challenges' files, such as ``BraTS-GLI-00000-000-t1c``."""

_NO_AGENT: Final = frozenset({"NONE", "NO", "N/A"})
"""What is entered as ContrastBolusAgent where none was given."""

_SAID: Final = (
    "SpecificCharacterSet", "SOPClassUID", "Modality", "SeriesDescription", "ProtocolName",
    "ImageType", "ScanningSequence", "EchoPulseSequence", "AcquisitionContrast",
    "BodyPartExamined", "ContrastBolusAgent", "ContrastBolusAgentSequence", "RepetitionTime",
    "EchoTime", "InversionTime",
)  # fmt: skip
"""What a file says of its series, as `_attributes` reads it."""


class Candidate(Protocol):
    """A series that may be one of the sequences.

    Attributes
    ----------
    kind
        What its files are.
    label
        What messages call it: no patient attribute.
    attributes
        What rules look at: what its files say, each that differs once, the first file's first.
    derived
        Whether it was computed from other images.
    own
        Whether scanside wrote it.
    sources
        What its files are called.
    subject
        Whose image it is and of which session by its name, if that follows BIDS or BraTS; else
        empty, as for DICOM, which says it inside.
    """

    kind: SourceKind
    label: str
    attributes: tuple[Attributes, ...]
    derived: bool
    own: bool
    sources: tuple[str, ...]
    subject: str

    def refusal(self) -> InputError | None:
        """Say why it can be no sequence, whatever the rules say."""

    def stack(self) -> Stack:
        """Put its slices in order; raises `InputError` where they make no grid."""

    def read(self, ordered: Stack) -> Volume:
        """Decode its pixels; raises `InputError` where they are not accepted."""

    def references(self, ordered: Stack) -> tuple[FrameReference, ...]:
        """Say in which file and frame each slice is."""

    def datasets(self) -> tuple[Dataset, ...]:
        """Return its files' elements without pixel data."""


class NiftiCandidate:
    """A NIfTI file."""

    kind: SourceKind = "nifti"
    derived = own = False

    def __init__(self, file: NiftiFile) -> None:
        self._file = file
        name = file.blob.source.replace("\\", "/").rpartition("/")[2]
        self.label = f"file {name}"
        self.sources: tuple[str, ...] = (file.blob.source,)
        stem = name.removesuffix(".gz").removesuffix(".nii")
        found = _BIDS_LABELS.match(stem) or _BRATS.match(stem)
        self.subject = found[0].rstrip("-_") if found else ""
        described = Attributes(description=_BIDS_LABELS.sub("", stem))
        self.attributes: tuple[Attributes, ...] = (described,)

    def refusal(self) -> InputError | None:
        """Return nothing: what a header can say against it has been said."""
        return None

    def stack(self) -> Stack:
        """Return the file's own order."""
        return Stack(self._file.grid, tuple(range(self._file.grid.shape[0])))

    def read(self, ordered: Stack) -> Volume:  # noqa: ARG002 - the protocol's signature
        """Read the voxels."""
        return self._file.read()

    def references(self, ordered: Stack) -> tuple[FrameReference, ...]:  # noqa: ARG002
        """Return nothing: a NIfTI file has no frames to refer to."""
        return ()

    def datasets(self) -> tuple[Dataset, ...]:
        """Return nothing."""
        return ()


class DicomCandidate:
    """A DICOM series."""

    kind: SourceKind = "dicom"
    subject = ""

    def __init__(self, series: Series) -> None:
        self.series = series
        first = series.first
        self.own = is_own_result(first)
        self.sources = tuple(header.blob.source for header in series.headers)
        with refusing(first.blob.source, "the description of the series"):
            differing = tuple({_as_stored(header): header for header in series.headers}.values())
            self.attributes = tuple(dict.fromkeys(map(_attributes, differing)))
            self._kinds = {
                (header.sop_class, text(header.dataset, "Modality")) for header in differing
            }
            series_number = number(first.dataset, "SeriesNumber")
            self.derived = "DERIVED" in texts(first.dataset, "ImageType")
        self.label = (
            "a series without number" if series_number is None else (f"series {series_number:.0f}")
        )

    def refusal(self) -> InputError | None:
        """Say why it can be no sequence: the SOP Class or modality of any of its files."""
        if self.own:
            return refused("own result", "written by scanside")
        for sop_class, modality in sorted(self._kinds):
            if sop_class.startswith(Sop.SECONDARY_CAPTURES):
                return refused(
                    "secondary capture",
                    "a picture of the screen, whose grey levels and place in the patient are lost",
                    accepted="MR images",
                )
            if modality not in {"", "MR"}:
                return refused("wrong modality", "not MR", accepted="MR images")
            if sop_class not in Sop.IMAGES:
                return refused("not an image", "its SOP Class is none of MR images")
        return None

    def stack(self) -> Stack:
        """Put the slices in order."""
        return self.series.stack()

    def read(self, ordered: Stack) -> Volume:
        """Decode the pixels."""
        return self.series.read(ordered)

    def references(self, ordered: Stack) -> tuple[FrameReference, ...]:
        """Say in which file and frame each slice is."""
        return self.series.references(ordered.order)

    def datasets(self) -> tuple[Dataset, ...]:
        """Return the files' elements without pixel data."""
        return tuple(header.dataset for header in self.series.headers)


def is_own_result(header: Header) -> bool:
    """Tell whether scanside wrote a file."""
    dataset = header.dataset
    with refusing(header.blob.source, "the maker's name"):
        if text(dataset, "Manufacturer").lower() == MANUFACTURER:
            return True
        return text(dataset.file_meta, "ImplementationClassUID") == IMPLEMENTATION_CLASS_UID


@cache
def _tags_said() -> tuple[BaseTag, ...]:
    from pydicom.tag import Tag

    return tuple(map(Tag, _SAID))


def _as_stored(header: Header) -> tuple[str, ...]:
    """Return what a file says of its series, not decoded: that takes twenty times as long."""
    if header.enhanced:  # its functional groups say it, and there are few such files in a series
        return (header.instance_uid,)
    found = map(header.dataset.get_item, _tags_said())
    return tuple(repr(None if element is None else element.value) for element in found)


def _attributes(header: Header) -> Attributes:
    dataset = header.dataset
    shared = item(dataset, "SharedFunctionalGroupsSequence")
    own = item(dataset, "PerFrameFunctionalGroupsSequence")

    def group(keyword: str) -> Dataset | None:
        if not header.enhanced:
            return dataset
        return item(own, keyword) or item(shared, keyword)

    timing = group("MRTimingAndRelatedParametersSequence")
    echo = group("MREchoSequence")
    modifier = group("MRModifierSequence")
    inversion = "InversionTimes" if header.enhanced else "InversionTime"
    usage = group("ContrastBolusUsageSequence") if header.enhanced else None
    named = text(dataset, "ContrastBolusAgent").strip()
    if named.upper() in _NO_AGENT:
        named = ""
    agent = named or item(dataset, "ContrastBolusAgentSequence")
    if text(usage, "ContrastBolusAgentAdministered").upper() == "NO":
        agent = None
    described = (text(dataset, "SeriesDescription"), text(dataset, "ProtocolName"))
    return Attributes(
        description=PARTED.join(part for part in described if part),
        image_type="\\".join(texts(dataset, "ImageType")),
        scanning_sequence="\\".join(
            [*texts(dataset, "ScanningSequence"), *texts(dataset, "EchoPulseSequence")]
        ),
        contrast=text(dataset, "AcquisitionContrast"),
        body_part=text(dataset, "BodyPartExamined"),
        agent=bool(agent),
        repetition_time_ms=number(timing, "RepetitionTime"),
        echo_time_ms=number(echo, "EffectiveEchoTime" if header.enhanced else "EchoTime"),
        inversion_time_ms=number(modifier, inversion),
    )
