"""Enhanced Structured Report with an imaging measurement report, for every outcome.

The content items and the template of the measured region are highdicom's. Its report classes are
not used: they need a measurement, which a study without a region has not, and date objects with the
present time.

References
----------
PS3.3 A.35.2 (Enhanced SR IOD), C.17 (SR modules); PS3.16 TID 1500, TID 1411, TID 1001.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from pydicom.dataset import Dataset
from pydicom.uid import EnhancedSRStorage

from scanside.study.identity import MANUFACTURER
from scanside.writers.dicom import codes
from scanside.writers.dicom.objects import (
    RESEARCH,
    Series,
    new_object,
    referenced_series,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from highdicom.sr import ContainerContentItem, ContentItem, ContentSequence, Measurement
    from pydicom.sr.coding import Code

    from scanside.study.model import Measures
    from scanside.writers.dicom.context import Algorithm, Predecessor
    from scanside.writers.dicom.objects import Common
    from scanside.writers.dicom.outcome import Outcome

__all__ = ["SERIES", "MeasuredRegion", "report"]

SERIES: Final = Series(
    "sr", EnhancedSRStorage, "SR", 9102, f"Measurement report ({RESEARCH.lower()})"
)


class MeasuredRegion(NamedTuple):
    """The region that a report measures.

    Attributes
    ----------
    measures
        What it measures; not empty.
    segmentation
        The segmentation object that holds it, as segment 1.
    source_series_uid
        The series whose frames it lies on.
    tracking_id, tracking_uid
        As in the segmentation.
    """

    measures: Measures
    segmentation: Dataset
    source_series_uid: str
    tracking_id: str
    tracking_uid: str


def report(
    common: Common,
    outcome: Outcome,
    evidence: Sequence[Dataset],
    region: MeasuredRegion | None,
    predecessors: Sequence[Predecessor] = (),
) -> Dataset:
    """Make a report: unverified and preliminary, whatever it says.

    Parameters
    ----------
    common
        What all objects of the result share.
    outcome
        What the report says.
    evidence
        The datasets of the input; all of one study.
    region
        What was measured; none where the algorithm found no region.
    predecessors
        Earlier reports that this one supersedes.
    """
    made = new_object(common, SERIES)
    made.CompletionFlag = "COMPLETE" if outcome.complete else "PARTIAL"
    if not outcome.complete:
        made.CompletionFlagDescription = "Not all of the study was analysed"
    made.VerificationFlag = "UNVERIFIED"
    made.PreliminaryFlag = "PRELIMINARY"
    made.ReferencedPerformedProcedureStepSequence = []
    made.PerformedProcedureCodeSequence = []
    made.CodingSchemeIdentificationSequence = [codes.private_scheme()]
    objects = [*evidence, *([] if region is None else [region.segmentation])]
    made.CurrentRequestedProcedureEvidenceSequence = [_evidence(common, objects)]
    if predecessors:
        made.PredecessorDocumentsSequence = [_predecessor(each) for each in predecessors]
    made.update(_document(common, outcome, region))
    return made


def _evidence(common: Common, objects: Iterable[Dataset]) -> Dataset:
    made = Dataset()
    made.StudyInstanceUID = common.inherited.StudyInstanceUID
    made.ReferencedSeriesSequence = referenced_series(objects, "ReferencedSOPSequence")
    return made


def _predecessor(earlier: Predecessor) -> Dataset:
    sop = Dataset()
    sop.ReferencedSOPClassUID = earlier.sop_class_uid
    sop.ReferencedSOPInstanceUID = earlier.sop_instance_uid
    series = Dataset()
    series.SeriesInstanceUID = earlier.series_instance_uid
    series.ReferencedSOPSequence = [sop]
    made = Dataset()
    made.StudyInstanceUID = earlier.study_instance_uid
    made.ReferencedSeriesSequence = [series]
    return made


def _document(common: Common, outcome: Outcome, region: MeasuredRegion | None) -> Dataset:
    """TID 1500: the root of the content tree."""
    from highdicom.sr import CodedConcept, LanguageOfContentItemAndDescendants

    root = _container(codes.REPORT, template="1500")
    english = CodedConcept("en-US", "RFC5646", "English (United States)")
    root.ContentSequence.extend(LanguageOfContentItemAndDescendants(english))
    root.ContentSequence.extend(_observer(common))
    root.ContentSequence.append(_code(codes.PROCEDURE, codes.MR_BRAIN, "HAS CONCEPT MOD"))
    if region is not None:
        measurements = _container(codes.MEASUREMENTS)
        measurements.ContentSequence.extend(_group(common.algorithm, region))
        root.ContentSequence.append(measurements)
    root.ContentSequence.append(_evaluations(common.algorithm, outcome))
    document: Dataset = root
    return document


def _observer(common: Common) -> ContentSequence:
    """TID 1001: the observer is this software."""
    from highdicom.sr import (
        CodedConcept,
        DeviceObserverIdentifyingAttributes,
        ObservationContext,
        ObserverContext,
    )

    return ObservationContext(
        observer_device_context=ObserverContext(
            observer_type=CodedConcept.from_code(codes.DEVICE),
            observer_identifying_attributes=DeviceObserverIdentifyingAttributes(
                uid=common.device_uid,
                name=MANUFACTURER,
                manufacturer_name=MANUFACTURER,
                model_name=f"{MANUFACTURER} {common.algorithm.software}",
                serial_number=common.algorithm.bundle_sha256,
            ),
        )
    )


def _group(algorithm: Algorithm, region: MeasuredRegion) -> ContentSequence:
    """TID 1411: the region and what it measures."""
    from highdicom.sr import (
        AlgorithmIdentification,
        FindingSite,
        ReferencedSegment,
        SourceSeriesForSegmentation,
        TrackingIdentifier,
        VolumetricROIMeasurementsAndQualitativeEvaluations,
    )

    return VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(region.tracking_uid, region.tracking_id),
        referenced_segment=ReferencedSegment(
            sop_class_uid=region.segmentation.SOPClassUID,
            sop_instance_uid=region.segmentation.SOPInstanceUID,
            segment_number=1,
            source_series=SourceSeriesForSegmentation(region.source_series_uid),
        ),
        finding_category=codes.ABNORMAL_STRUCTURE,
        finding_type=codes.NEOPLASM,
        finding_sites=[FindingSite(codes.BRAIN)],
        algorithm_id=AlgorithmIdentification(
            name=algorithm.bundle,
            version=algorithm.bundle_version,
            parameters=list(algorithm.parameters),
        ),
        measurements=_measurements(region.measures),
    )


def _measurements(measures: Measures) -> list[Measurement]:
    """TID 300: each to a thousandth of a millilitre or a hundredth of a millimetre."""
    from highdicom.sr import Measurement

    made = [
        Measurement(
            codes.VOLUME,
            round(measures.volume_ml, 3),
            codes.MILLILITRE,
            method=codes.SUM_OF_VOXELS,
        ),
        Measurement(
            codes.DIAMETER,
            round(measures.diameter_mm, 2),
            codes.MILLIMETRE,
            derivation=codes.MAXIMUM,
            method=codes.IN_ONE_SLICE,
        ),
        Measurement(codes.SLICES_WITH_REGION, len(measures.slices), codes.COUNT),
    ]
    centroid = measures.centroid_mm or ()
    made += [
        Measurement(name, round(value, 2), codes.MILLIMETRE)
        for name, value in zip(codes.CENTROID, centroid, strict=False)
    ]
    return made


def _evaluations(algorithm: Algorithm, outcome: Outcome) -> ContainerContentItem:
    """TID 1500, Qualitative Evaluations: what holds for every outcome."""
    made = _container(codes.EVALUATIONS)
    made.ContentSequence.append(_code(codes.SUMMARY, outcome.status, "CONTAINS"))
    texts = [
        (codes.CONCLUSION, outcome.conclusion),
        *((codes.COMMENT, comment) for comment in outcome.comments),
        (codes.ALGORITHM_NAME, algorithm.bundle),
        (codes.ALGORITHM_VERSION, algorithm.bundle_version),
        *((codes.ALGORITHM_PARAMETERS, parameter) for parameter in algorithm.parameters),
    ]
    made.ContentSequence.extend(_text(name, text) for name, text in texts)
    return made


def _container(name: Code, template: str | None = None) -> ContainerContentItem:
    from highdicom.sr import ContainerContentItem, ContentSequence

    root = template is not None
    made = ContainerContentItem(
        name, template_id=template, relationship_type=None if root else "CONTAINS"
    )
    made.ContentSequence = ContentSequence(is_root=False)
    return made


def _code(name: Code, value: Code, relationship: str) -> ContentItem:
    from highdicom.sr import CodeContentItem

    return CodeContentItem(name, value, relationship_type=relationship)


def _text(name: Code, value: str) -> ContentItem:
    from highdicom.sr import TextContentItem

    return TextContentItem(name, value, relationship_type="CONTAINS")
