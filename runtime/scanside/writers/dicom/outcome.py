"""What a result says, in codes and words, whatever the outcome."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from scanside.writers.dicom import codes
from scanside.writers.dicom.objects import RESEARCH

if TYPE_CHECKING:
    from pydicom.sr.coding import Code

    from scanside.study.model import Findings, Study

__all__ = ["Outcome", "nothing_analysed", "outcome", "remarks"]


class Outcome(NamedTuple):
    """What a report says.

    Attributes
    ----------
    status
        Processing status of CID 6047.
    conclusion
        A sentence.
    comments
        What else a reader must know, each a sentence.
    complete
        Whether all that was asked for was analysed.
    """

    status: Code
    conclusion: str
    comments: tuple[str, ...]
    complete: bool


def outcome(findings: Findings) -> Outcome:
    """Put findings into codes and words: a negative result is never "no tumour"."""
    analysed = sum(record.status != "rejected" for record in findings.records)
    if not analysed:
        return nothing_analysed("no slice was analysed", remarks(findings.study))
    slices = len(findings.masks)
    indeterminate = sum(record.status == "indeterminate" for record in findings.records)
    counts = (
        f"Slices: {slices}; analysed: {analysed}; with a region: {len(findings.measures.slices)};"
        f" indeterminate: {indeterminate}."
    )
    return Outcome(
        status=_status(findings),
        conclusion=_conclusion(findings, analysed, indeterminate),
        comments=(*_always(), counts, *remarks(findings.study)),
        complete=findings.status != "incomplete",
    )


def nothing_analysed(reason: str, comments: tuple[str, ...] = ()) -> Outcome:
    """Say that a study was not analysed.

    Parameters
    ----------
    reason
        Why, without a capital letter and a full stop; it names no patient attribute.
    comments
        What else a reader must know.
    """
    return Outcome(
        status=codes.NONE_SUCCEEDED,
        conclusion=f"Incomplete: {reason}. Nothing follows about what the images show.",
        comments=(*_always(), *comments),
        complete=False,
    )


def remarks(study: Study) -> tuple[str, ...]:
    """Return what every result of a study must say about how the study was made."""
    filled = tuple(f"FLAIR stands in for the {sequence} sequence." for sequence in study.filled)
    # The filled sequences are notes of the study too, in words of its own.
    others = (note for note in study.notes if note.kind != "filled")
    return filled + tuple(f"{note.sequence}: {note.text}." for note in others)


def _always() -> tuple[str, ...]:
    return (f"{RESEARCH}. The outline is one of FLAIR abnormality.",)


def _status(findings: Findings) -> Code:
    if findings.status == "ok":
        return codes.ALL_WITH_FINDINGS if findings.found else codes.ALL_WITHOUT_FINDINGS
    return codes.SOME_WITH_FINDINGS if findings.found else codes.SOME_WITHOUT_FINDINGS


def _conclusion(findings: Findings, analysed: int, indeterminate: int) -> str:
    found = "a region" if findings.found else "no region"
    if findings.status == "ok":
        return f"The algorithm found {found}."
    if findings.status == "indeterminate":
        follows = (
            "the region may be larger" if findings.found else "nothing follows about the study"
        )
        return (
            f"Indeterminate: the algorithm found {found}, and {indeterminate} of {analysed}"
            f" slices are indeterminate: {follows}."
        )
    return (
        f"Incomplete: the algorithm found {found} in the {analysed} slices that were analysed,"
        f" of {len(findings.masks)}."
    )
