"""What a run writes of a DICOM or NIfTI study, beside records and pictures."""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from scanside.errors import ExtraNotInstalledError, UsageError
from scanside.records import DICOM, NIFTI

if TYPE_CHECKING:
    from collections.abc import Collection

    from scanside.study.model import Findings, SourceKind
    from scanside.writers.dicom.context import Context
    from scanside.writers.files import OutputFolder

__all__ = [
    "FORMS",
    "Form",
    "Written",
    "check_forms",
    "default_forms",
    "preload",
    "require",
    "write_study",
]

Form = Literal["dicom", "overlays", "nifti"]

FORMS: Final[tuple[Form, ...]] = ("dicom", "overlays", "nifti")
"""``dicom``: a Structured Report, and a Segmentation where there is a region. ``overlays``: these,
and a series of colour Secondary Captures. ``nifti``: a mask, empty or not."""


class Written(NamedTuple):
    """What was written.

    Attributes
    ----------
    names
        Paths of the files, relative to the output folder.
    dropped
        Attributes of the DICOM input that were not valid and are not in the files.
    """

    names: tuple[str, ...]
    dropped: tuple[str, ...]


def default_forms(kind: SourceKind) -> tuple[Form, ...]:
    """Return what is written where nothing is asked for: the form of the input."""
    return (kind,)


def check_forms(forms: Collection[Form], kind: SourceKind) -> None:
    """Refuse forms that a study of this kind can't be written in.

    Raises
    ------
    UsageError
        If DICOM objects are asked for, and the input names no patient and no study.
    """
    asked = sorted({"dicom", "overlays"} & set(forms))
    if kind != "dicom" and asked:
        raise UsageError(
            f"{' and '.join(asked)} of a study of {kind} files",
            accepted="nifti for these; DICOM objects name the patient, study and series of the"
            " DICOM files that they are made from",
            remedy="leave --write out, or give the DICOM files",
        )


def require(forms: Collection[Form]) -> None:
    """Find what writing needs, without importing it.

    Raises
    ------
    ExtraNotInstalledError
        If something is not installed.
    """
    for what, package, extra in _needed(forms):
        if find_spec(package) is None:
            raise ExtraNotInstalledError(what, package=package, extra=extra)


def preload(forms: Collection[Form]) -> None:
    """Import what writing needs, so that it is there when the first study is done."""
    for _, package, _ in _needed(forms):
        with suppress(ImportError):  # said by whoever needs it
            import_module(package)


def _needed(forms: Collection[Form]) -> list[tuple[str, str, str]]:
    """Return for whom, which package, and the extra that brings it."""
    needed = []
    if set(forms) & {"dicom", "overlays"}:
        needed += [("DICOM output", name, "dicom") for name in ("pydicom", "highdicom")]
    if "nifti" in forms:
        needed.append(("NIfTI output", "nibabel", "nifti"))
    return needed


def write_study(
    findings: Findings,
    context: Context,
    output: OutputFolder,
    name: str,
    forms: Collection[Form],
) -> Written:
    """Write a study's results.

    Parameters
    ----------
    findings
        The findings.
    context
        What DICOM objects say beyond them.
    output
        Where to write.
    name
        What to call the study in names of files, for instance ``study_1``; no patient attribute.
    forms
        What to write.

    Raises
    ------
    ExtraNotInstalledError
        If something is not installed.
    UsageError
        As for `check_forms`.
    OutputError
        If a file can't be written.
    """
    check_forms(forms, findings.study.kind)
    require(forms)
    names: list[str] = []
    dropped: tuple[str, ...] = ()
    if set(forms) & {"dicom", "overlays"}:
        from scanside.writers.dicom.results import encode_results

        encoded = encode_results(findings, context, overlays="overlays" in forms)
        dropped = encoded.dropped
        for made in encoded.objects:
            names.append(f"{DICOM}/{name}/{made.file_name}")
            output.write(names[-1], made.content)
    if "nifti" in forms:
        from scanside.writers.nifti import mask_nifti

        names.append(f"{NIFTI}/{name}_mask.nii.gz")
        output.write(names[-1], mask_nifti(findings))
    return Written(tuple(names), dropped)
