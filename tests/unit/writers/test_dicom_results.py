"""Results as DICOM objects: what they say for every outcome, and that they repeat."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import subprocess
import sys
from datetime import datetime
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pytest.importorskip("highdicom", reason="needs the dicom extra")

import highdicom
from pydicom import dcmread
from pydicom.uid import UID

import mrstudy
from scanside.errors import InternalError, UsageError
from scanside.study.identity import IMPLEMENTATION_CLASS_UID
from scanside.study.model import Note
from scanside.writers.dicom.context import Algorithm, Context
from scanside.writers.dicom.results import NO_DATE, Encoded, encode_results, encode_unanalysed

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pydicom.dataset import Dataset

    from scanside.study.model import Study

CONTEXT = Context(Algorithm("lgg", "1", "ab" * 32, "0.1.0", "cpu", "int8"))


def objects(encoded: Encoded) -> dict[str, Dataset]:
    """The first object of each kind, read back."""
    found: dict[str, Dataset] = {}
    for made in encoded.objects:
        found.setdefault(made.kind, dcmread(BytesIO(made.content)))
    return found


def texts(report: Dataset) -> list[str]:
    """Every text of a report's evaluations."""
    evaluations = report.ContentSequence[-1]
    return [str(item.TextValue) for item in evaluations.ContentSequence if item.ValueType == "TEXT"]


def status(report: Dataset) -> str:
    """The processing status of a report."""
    return str(report.ContentSequence[-1].ContentSequence[0].ConceptCodeSequence[0].CodeValue)


OUTCOMES: list[tuple[dict[str, Any], str, str]] = [
    ({}, "111242", "The algorithm found a region."),
    ({"found": False}, "111241", "The algorithm found no region."),
    (
        {"status": "indeterminate"},
        "111244",
        "Indeterminate: the algorithm found a region, and 1 of",
    ),
    (
        {"status": "indeterminate", "found": False},
        "111243",
        "Indeterminate: the algorithm found no region, and 1 of 5 slices are indeterminate:"
        " nothing follows about the study.",
    ),
    (
        {"status": "incomplete", "analysed": 2},
        "111244",
        "Incomplete: the algorithm found a region in the 2 slices that were analysed, of 5.",
    ),
    (
        {"status": "incomplete", "analysed": 2, "found": False},
        "111243",
        "Incomplete: the algorithm found no region in the 2 slices that were analysed, of 5.",
    ),
    ({"status": "incomplete", "analysed": 0, "found": False}, "111245", "Incomplete: no slice"),
]


@pytest.mark.parametrize(("outcome", "code", "conclusion"), OUTCOMES)
def test_a_report_for_every_outcome_and_a_segmentation_where_there_is_a_region(
    outcome: dict[str, Any], code: str, conclusion: str
) -> None:
    encoded = encode_results(mrstudy.findings(mrstudy.study(), **outcome), CONTEXT)
    kinds = [made.kind for made in encoded.objects]
    assert kinds == (["sr", "seg"] if outcome.get("found", True) else ["sr"])
    report = objects(encoded)["sr"]
    assert status(report) == code
    assert texts(report)[0].startswith(conclusion)
    assert "no tumour" not in " ".join(texts(report)).lower()
    assert report.VerificationFlag == "UNVERIFIED"
    assert report.PreliminaryFlag == "PRELIMINARY"
    complete = outcome.get("status") != "incomplete"
    assert report.CompletionFlag == ("COMPLETE" if complete else "PARTIAL")
    assert any("Research, not for diagnosis" in text for text in texts(report))


def test_notes_on_the_study_are_in_every_object() -> None:
    note = Note("misregistered", "post-contrast", "it seems to be shifted by 4 mm against FLAIR")
    study = dataclasses.replace(mrstudy.study(), notes=(note,))
    made = objects(encode_results(mrstudy.findings(study), CONTEXT))
    said = "post-contrast: it seems to be shifted by 4 mm against FLAIR."
    assert said in texts(made["sr"])
    assert said in made["seg"].SegmentSequence[0].SegmentDescription


def test_measures_are_in_the_report() -> None:
    findings = mrstudy.findings(mrstudy.study())
    report = objects(encode_results(findings, CONTEXT))["sr"]
    group = report.ContentSequence[-2].ContentSequence[0]
    found = {
        str(item.ConceptNameCodeSequence[0].CodeMeaning): (
            float(item.MeasuredValueSequence[0].NumericValue),
            str(item.MeasuredValueSequence[0].MeasurementUnitsCodeSequence[0].CodeValue),
        )
        for item in group.ContentSequence
        if item.ValueType == "NUM"
    }
    voxels = 22 * 30 + 7 * 8 + 1
    assert found["Volume"] == (pytest.approx(voxels * 0.9 * 0.8 * 5 / 1000, abs=1e-3), "ml")
    assert found["Diameter"] == (pytest.approx(np.hypot(36 * 0.8, 25 * 0.9), abs=1e-2), "mm")
    assert found["Slices with a region"] == (2.0, "{slices}")
    assert findings.measures.centroid_mm is not None
    centroid = [found[name][0] for name in found if name.startswith("Centroid")]
    assert centroid == pytest.approx(findings.measures.centroid_mm, abs=5e-3)


@pytest.mark.parametrize(
    "placed",
    [None, mrstudy.affine(oblique=23.7), mrstudy.SAGITTAL],
    ids=["axial", "oblique", "sagittal"],
)
@pytest.mark.parametrize("enhanced", [False, True], ids=["classic", "enhanced"])
def test_a_segmentation_reads_back_as_the_mask_on_the_source_grid(
    *, placed: NDArray[np.float64] | None, enhanced: bool
) -> None:
    study = mrstudy.study(placed=placed, enhanced=enhanced)
    findings = mrstudy.findings(study)
    (content,) = [o.content for o in encode_results(findings, CONTEXT).objects if o.kind == "seg"]
    expected = study.on_source(findings.masks)
    assert np.array_equal(dcmread(BytesIO(content)).pixel_array, expected)
    segmentation = highdicom.seg.segread(BytesIO(content))
    # highdicom's voxel index is (slice, row, column), ours (column, row, slice).
    affine = study.flair.grid.affine[:, [2, 1, 0, 3]]
    wanted = highdicom.Volume(expected, affine, coordinate_system="PATIENT")
    volume = segmentation.get_volume(combine_segments=True).match_geometry(wanted)
    assert np.allclose(volume.affine, affine, atol=1e-6)
    assert np.array_equal(volume.array, expected)
    for number in range(len(expected)):
        group = segmentation.PerFrameFunctionalGroupsSequence[number]
        source = group.DerivationImageSequence[0].SourceImageSequence[0]
        frame = study.flair.frames[number]
        uid = study.flair.datasets[frame.dataset].SOPInstanceUID
        assert (source.ReferencedSOPInstanceUID, source.get("ReferencedFrameNumber")) == (
            uid,
            frame.frame,
        )


def test_a_segmentation_says_what_it_is() -> None:
    study = mrstudy.study(filled=("post-contrast",))
    made = objects(encode_results(mrstudy.findings(study), CONTEXT))
    (segment,) = made["seg"].SegmentSequence
    assert "FLAIR abnormality" in segment.SegmentLabel
    assert segment.SegmentAlgorithmType == "AUTOMATIC"
    assert segment.SegmentedPropertyCategoryCodeSequence[0].CodeValue == "49755003"
    assert segment.SegmentedPropertyTypeCodeSequence[0].CodeValue == "108369006"
    assert segment.AnatomicRegionSequence[0].CodeValue == "12738006"
    assert segment.SegmentationAlgorithmIdentificationSequence[0].AlgorithmName == "lgg"
    assert made["seg"].SegmentationType == "BINARY"
    assert "FLAIR stands in for the post-contrast sequence." in segment.SegmentDescription
    assert "FLAIR stands in for the post-contrast sequence." in texts(made["sr"])
    group = made["sr"].ContentSequence[-2].ContentSequence[0].ContentSequence
    (tracking,) = [item.UID for item in group if item.ValueType == "UIDREF"][:1]
    assert tracking == segment.TrackingUID


def test_a_segmentation_is_what_highdicom_makes_of_the_same_masks() -> None:
    """Module for module; apart from identity, dates, equipment and words."""
    study = mrstudy.study(attributes={**mrstudy.PATIENT, "SliceThickness": 5.0})
    findings = mrstudy.findings(study)
    ours = objects(encode_results(findings, CONTEXT))["seg"]
    for dataset in (each for source in study.sources for each in source.datasets):
        dataset.FrameOfReferenceUID = study.grid.frame_of_reference_uid
        dataset.PixelSpacing = [0.8, 0.9]
    theirs = highdicom.seg.Segmentation(
        source_images=study.flair.datasets,
        pixel_array=study.on_source(findings.masks),
        segmentation_type="BINARY",
        segment_descriptions=[
            highdicom.seg.SegmentDescription.from_dataset(ours.SegmentSequence[0])
        ],
        series_instance_uid="1.2.3",
        series_number=1,
        sop_instance_uid="1.2.4",
        instance_number=1,
        manufacturer="scanside",
        manufacturer_model_name="scanside",
        software_versions="0",
        device_serial_number="0",
        omit_empty_frames=False,
    )
    left_out = {"ContributingEquipmentSequence", "InstanceCreationDate", "InstanceCreationTime",
                "PresentationLUTShape", "SourceImageSequence"}  # fmt: skip
    keywords = {element.keyword for element in theirs} - left_out
    assert keywords - {element.keyword for element in ours} == set()
    same = ["SegmentSequence", "SegmentationType", "SegmentsOverlap", "ImageType", "BitsAllocated",
            "PhotometricInterpretation", "NumberOfFrames", "Rows", "Columns", "HighBit",
            "DimensionOrganizationType", "FrameOfReferenceUID"]  # fmt: skip
    for keyword in same:
        assert ours[keyword].value == theirs[keyword].value, keyword
    shared = [made.SharedFunctionalGroupsSequence[0].to_json() for made in (ours, theirs)]
    assert shared[0] == shared[1]
    # highdicom numbers frames from the other end; a frame is told by its position.
    assert frames(ours) == frames(theirs)


def frames(segmentation: Dataset) -> dict[tuple[float, ...], tuple[str, bytes]]:
    """Derivation and pixels of each frame by position."""
    return {
        tuple(float(v) for v in group.PlanePositionSequence[0].ImagePositionPatient): (
            json.dumps(group.DerivationImageSequence[0].to_json_dict(), sort_keys=True),
            plane.tobytes(),
        )
        for group, plane in zip(
            segmentation.PerFrameFunctionalGroupsSequence, segmentation.pixel_array, strict=True
        )
    }


@pytest.mark.parametrize("overlays", [False, True])
def test_the_same_input_gives_the_same_bytes(*, overlays: bool) -> None:
    code = (
        "import hashlib, mrstudy, test_dicom_results as t;"
        "from scanside.writers.dicom.results import encode_results as e;"
        f"r = e(mrstudy.findings(mrstudy.study()), t.CONTEXT, overlays={overlays});"
        "print(hashlib.sha256(b''.join(o.content for o in r.objects)).hexdigest())"
    )
    made = encode_results(mrstudy.findings(mrstudy.study()), CONTEXT, overlays=overlays)
    digest = hashlib.sha256(b"".join(each.content for each in made.objects)).hexdigest()
    path = [__file__.rsplit("/", maxsplit=1)[0], *sys.path]
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:] = {path!r}; {code}"],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo"},
    )
    assert done.stdout.strip() == digest


def uids(encoded: Encoded) -> set[str]:
    """Every UID that the objects have of their own."""
    return {uid for made in encoded.objects for uid in (made.sop_instance_uid,
                                                        made.series_instance_uid)}  # fmt: skip


def test_anything_else_gives_other_uids() -> None:
    study = mrstudy.study()
    base = encode_results(mrstudy.findings(study), CONTEXT)
    seen = [uids(base)]
    corrected = mrstudy.study(attributes={**mrstudy.PATIENT, "PatientName": "Doe^Joan"})
    other_pixels = mrstudy.findings(study)
    other_pixels.masks[4, 1, 1] = True
    for findings, context in [
        (mrstudy.findings(study), CONTEXT._replace(uid_root="1.2.3")),
        (mrstudy.findings(study), CONTEXT._replace(predecessors=(base.objects[0].reference,))),
        (
            mrstudy.findings(study),
            CONTEXT._replace(algorithm=CONTEXT.algorithm._replace(precision="fp32")),
        ),
        (mrstudy.findings(study, status="incomplete", analysed=4), CONTEXT),
        (mrstudy.findings(corrected), CONTEXT),
        (other_pixels, CONTEXT),
    ]:
        made = encode_results(findings, context)
        assert all(UID(uid).is_valid for uid in uids(made))
        assert not any(uids(made) & earlier for earlier in seen)
        seen.append(uids(made))


def test_the_region_keeps_its_tracking_uid_when_a_report_is_superseded() -> None:
    study = mrstudy.study()
    first = encode_results(mrstudy.findings(study, status="incomplete", analysed=3), CONTEXT)
    reference = first.objects[0].reference
    second = encode_results(mrstudy.findings(study), CONTEXT._replace(predecessors=(reference,)))
    before, after = objects(first), objects(second)
    assert (
        after["seg"].SegmentSequence[0].TrackingUID == before["seg"].SegmentSequence[0].TrackingUID
    )
    (predecessor,) = after["sr"].PredecessorDocumentsSequence
    (series,) = predecessor.ReferencedSeriesSequence
    assert predecessor.StudyInstanceUID == mrstudy.STUDY_UID
    assert series.SeriesInstanceUID == before["sr"].SeriesInstanceUID
    assert series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == before["sr"].SOPInstanceUID


def test_every_input_and_the_segmentation_are_evidence() -> None:
    study = mrstudy.study()
    made = objects(encode_results(mrstudy.findings(study), CONTEXT))
    (evidence,) = made["sr"].CurrentRequestedProcedureEvidenceSequence
    named = {
        str(sop.ReferencedSOPInstanceUID)
        for series in evidence.ReferencedSeriesSequence
        for sop in series.ReferencedSOPSequence
    }
    inputs = {str(d.SOPInstanceUID) for source in study.sources for d in source.datasets}
    assert named == inputs | {str(made["seg"].SOPInstanceUID)}


def test_a_study_that_was_not_analysed_has_a_report_that_says_why() -> None:
    datasets = mrstudy.study().flair.datasets
    encoded = encode_unanalysed(datasets, "no post-contrast series has come", CONTEXT)
    (made,) = encoded.objects
    report = dcmread(BytesIO(made.content))
    assert status(report) == "111245"
    assert texts(report)[0].startswith("Incomplete: no post-contrast series has come.")
    assert report.CompletionFlag == "PARTIAL"


def test_overlays_say_what_they_are_in_pixels_and_in_attributes() -> None:
    study = mrstudy.study(filled=("pre-contrast",))
    findings = mrstudy.findings(study)
    encoded = encode_results(findings, CONTEXT, overlays=True)
    made = [dcmread(BytesIO(o.content)) for o in encoded.objects if o.kind == "capture"]
    assert [int(each.InstanceNumber) for each in made] == [1, 2, 3, 4, 5]
    assert len({each.SeriesInstanceUID for each in made}) == 1
    for number, each in enumerate(made):
        assert each.BurnedInAnnotation == "YES"
        assert "Research, not for diagnosis" in each.ImageComments
        assert each.PatientOrientation == ["L", "P"]
        source = each.SourceImageSequence[0]
        assert source.ReferencedSOPInstanceUID == study.flair.datasets[number].SOPInstanceUID
        pixels = each.pixel_array
        # Three lines of text in a band of its own below the picture.
        band = pixels[-70:]
        assert all((band[20 * k : 20 * k + 20] > 200).any() for k in range(3))
        coloured = np.abs(pixels[..., 0].astype(int) - pixels[..., 2]).max(axis=-1) > 20
        assert coloured.any() == findings.masks[number].any()


def test_a_sagittal_acquisition_has_overlays_of_axial_slices() -> None:
    study = mrstudy.study(placed=mrstudy.SAGITTAL)
    encoded = encode_results(mrstudy.findings(study, found=False), CONTEXT, overlays=True)
    capture = objects(encoded)["capture"]
    assert capture.PatientOrientation == ["L", "P"]
    assert "SourceImageSequence" not in capture


def test_files_are_ours_and_their_preamble_is_empty() -> None:
    encoded = encode_results(mrstudy.findings(mrstudy.study()), CONTEXT, overlays=True)
    for made in encoded.objects:
        assert made.content[:132] == b"\0" * 128 + b"DICM"
        meta = dcmread(BytesIO(made.content)).file_meta
        assert meta.ImplementationClassUID == IMPLEMENTATION_CLASS_UID
        assert meta.MediaStorageSOPInstanceUID == made.sop_instance_uid
        assert b"InstanceCreation" not in made.content
        assert dcmread(BytesIO(made.content)).ContentDate == "20240229"


def test_dates_come_from_the_input_or_the_caller_or_are_said_to_be_missing() -> None:
    undated = mrstudy.findings(mrstudy.study(attributes={"PatientName": "A^B"}))
    report = objects(encode_results(undated, CONTEXT))["sr"]
    assert report.ContentDate == NO_DATE.strftime("%Y%m%d")
    assert any("no valid date" in text for text in texts(report))
    given = datetime(2026, 5, 4, 3, 2, 1)
    report = objects(encode_results(undated, CONTEXT._replace(created=given)))["sr"]
    assert (report.ContentDate, report.ContentTime) == ("20260504", "030201")
    assert not any("no valid date" in text for text in texts(report))


def test_an_input_without_a_frame_of_reference_gets_one() -> None:
    study = mrstudy.study(frame_of_reference=None)
    segmentation = objects(encode_results(mrstudy.findings(study), CONTEXT))["seg"]
    assert UID(segmentation.FrameOfReferenceUID).is_valid


def test_invalid_attributes_are_named_and_in_no_object() -> None:
    attributes = {**mrstudy.PATIENT, "PatientAge": "42", "PatientSex": "?"}
    study = broken(attributes)
    encoded = encode_results(mrstudy.findings(study), CONTEXT, overlays=True)
    assert encoded.dropped == ("PatientSex", "PatientAge")
    for made in encoded.objects:
        read = dcmread(BytesIO(made.content))
        assert "PatientAge" not in read
        assert read.PatientSex == ""


def broken(attributes: dict[str, Any]) -> Study:
    """A study whose attributes nobody checked."""
    from pydicom import config

    with config.disable_value_validation():
        return mrstudy.study(attributes=attributes)


def test_no_patient_attribute_leaves_the_files(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Names that highdicom warns of and pydicom complains about; no log, no stream has them."""
    caplog.set_level(logging.DEBUG)
    for name in ("CANARY^JANE", "CANARYJANE", "CANARY\nJANE", "CANARY" * 20, "a=b=c=d^CANARY"):
        study = broken({**mrstudy.PATIENT, "PatientName": name, "PatientID": "CANARY-1"})
        encoded = encode_results(mrstudy.findings(study), CONTEXT, overlays=True)
        assert not any("CANARY" in made.file_name for made in encoded.objects)
    shown = capfd.readouterr()
    assert "CANARY" not in shown.out + shown.err + caplog.text


def test_an_error_of_a_library_is_told_without_its_text() -> None:
    study = mrstudy.study()
    del study.flair.datasets[1].SOPInstanceUID
    said = r"encoding the results: AttributeError in \w+\.py:\d+"
    with pytest.raises(InternalError, match=said) as caught:
        encode_results(mrstudy.findings(study), CONTEXT)
    assert "SOPInstanceUID" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_a_uid_root_that_is_none_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="UID root"):
        encode_results(mrstudy.findings(mrstudy.study()), CONTEXT._replace(uid_root="root"))


def test_a_grid_of_long_numbers_is_written_in_16_characters() -> None:
    placed = mrstudy.affine(spacing=(1 / 3, 0.1 + 0.2, 10 / 3), oblique=33.333)
    study = mrstudy.study(placed=placed)
    segmentation = objects(encode_results(mrstudy.findings(study), CONTEXT))["seg"]
    shared = segmentation.SharedFunctionalGroupsSequence[0]
    spacing = shared.PixelMeasuresSequence[0].PixelSpacing
    assert [float(value) for value in spacing] == pytest.approx([0.3, 1 / 3], abs=1e-12)
    assert all(len(str(value)) <= 16 for value in spacing)
