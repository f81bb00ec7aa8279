"""All objects of a study's result, as bytes.

References
----------
PS3.3 A.35.2 (Enhanced SR), A.51 (Segmentation), A.8.1 (Secondary Capture).
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from scanside.discretion import discreet
from scanside.writers.dicom import capture, seg, sr
from scanside.writers.dicom.inherit import inherit, latest_moment
from scanside.writers.dicom.objects import Common, encode
from scanside.writers.dicom.outcome import nothing_analysed, outcome, remarks
from scanside.writers.dicom.uids import Identity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydicom.dataset import Dataset

    from scanside.study.model import Findings
    from scanside.writers.dicom.context import Context, EncodedObject

__all__ = ["NO_DATE", "Encoded", "encode_results", "encode_unanalysed"]

NO_DATE: Final = datetime(1900, 1, 1)
"""Content date, which objects must have, where the input has no valid date: the report says so."""

_UNDATED: Final = "The input has no valid date: the content date of this result is a placeholder."


class Encoded(NamedTuple):
    """The objects of a result.

    Attributes
    ----------
    objects
        The report first, then the segmentation, then captures.
    dropped
        Keywords of attributes of the input that were not valid and are not in the objects.
    """

    objects: tuple[EncodedObject, ...]
    dropped: tuple[str, ...]


def encode_results(findings: Findings, context: Context, *, overlays: bool = False) -> Encoded:
    """Encode a study's result: a report always, a segmentation where there is a region.

    Parameters
    ----------
    findings
        Those of a study of DICOM files.
    context
        What the objects say beyond the findings.
    overlays
        Add a series of colour pictures of the slices with the region's outline.

    Raises
    ------
    UsageError
        If the context's UID root is none.
    InternalError
        If a library fails; the message names no patient attribute.
    """
    with discreet("encoding the results"):
        return _encode(findings, context, overlays=overlays)


def encode_unanalysed(datasets: Sequence[Dataset], reason: str, context: Context) -> Encoded:
    """Encode a report that says why a study was not analysed.

    Parameters
    ----------
    datasets
        What was received of the study, at least one, without pixel data.
    reason
        Why, without a capital letter and a full stop, and with no patient attribute in it:
        ``"no FLAIR series has come within 300 s"``.
    context
        What the report says beyond that.

    Raises
    ------
    UsageError, InternalError
        As for `encode_results`.
    """
    with discreet("encoding the results"):
        facts: dict[str, object] = {"reason": reason, "input": _instances(datasets)}
        common, dropped, dated = _common(datasets, facts, context)
        said = nothing_analysed(reason, () if dated else (_UNDATED,))
        made = sr.report(common, said, datasets, None, context.predecessors)
        return Encoded((encode(made, sr.SERIES),), dropped)


def _encode(findings: Findings, context: Context, *, overlays: bool) -> Encoded:
    study = findings.study
    datasets = [dataset for source in study.sources for dataset in source.datasets]
    common, dropped, dated = _common(datasets, _facts(findings), context)
    said = outcome(findings)
    if not dated:
        said = said._replace(comments=(*said.comments, _UNDATED))
    objects = []
    region = None
    if findings.found:
        flair_uid = str(study.flair.datasets[0].SeriesInstanceUID)
        tracking_uid = _tracking_uid(common, flair_uid, context)
        mask = study.on_source(findings.masks)
        made = seg.segmentation(common, study, mask, tracking_uid, " ".join(remarks(study)))
        objects.append(encode(made, seg.SERIES))
        region = sr.MeasuredRegion(
            findings.measures, made, flair_uid, seg.TRACKING_ID, tracking_uid
        )
    report = sr.report(common, said, datasets, region, context.predecessors)
    objects.insert(0, encode(report, sr.SERIES))
    if overlays:
        objects += [encode(made, capture.SERIES) for made in capture.captures(common, findings)]
    return Encoded(tuple(objects), dropped)


def _common(
    datasets: Sequence[Dataset], facts: dict[str, object], context: Context
) -> tuple[Common, tuple[str, ...], bool]:
    inherited = inherit(datasets[0])
    found = context.created or latest_moment(datasets)
    created = found or NO_DATE
    everything = {
        **facts,
        "patient and study": hashlib.sha256(inherited.attributes.to_json().encode()).hexdigest(),
        "algorithm": context.algorithm,
        "created": created,
        "supersedes": context.predecessors,
    }
    identity = Identity(everything, context.uid_root)
    device_uid = Identity(["device", context.algorithm.bundle_sha256], context.uid_root).uid("")
    common = Common(inherited.attributes, context.algorithm, created, identity, device_uid)
    return common, inherited.dropped, found is not None


def _facts(findings: Findings) -> dict[str, object]:
    """Return what objects are made from, beside the context: masks too, lest two share a UID."""
    study = findings.study
    return {
        "input": [
            [source.sequence, source.pixel_sha256, _instances(source.datasets)]
            for source in study.sources
        ],
        "filled": study.filled,
        "notes": [note.text for note in study.notes],
        "status": findings.status,
        "slices": [record.status for record in findings.records],
        "masks": hashlib.sha256(np.packbits(findings.masks).tobytes()).hexdigest(),
    }


def _instances(datasets: Sequence[Dataset]) -> list[str]:
    return [str(dataset.SOPInstanceUID) for dataset in datasets]


def _tracking_uid(common: Common, flair_uid: str, context: Context) -> str:
    """One region, whatever bundle outlines it and however often: it keeps its tracking UID."""
    facts = [common.inherited.StudyInstanceUID, flair_uid, seg.TRACKING_ID]
    return Identity(facts, context.uid_root).uid("tracking")
