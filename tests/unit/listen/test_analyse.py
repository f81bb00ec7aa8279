"""From received files to an encoded result, by made-up models."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("highdicom", reason="needs the dicom extra")

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.filewriter import dcmwrite

import toy
from scanside.assembly.rules import load_rules
from scanside.bundle import open_bundle
from scanside.errors import InputError, UsageError
from scanside.listen.analyse import Analyst
from scanside.listen.config import parse_listen_config
from scanside.listen.madeup import MadeUpBackend, check_loopback
from scanside.listen.studies import Claim
from scanside.listen.work import Analysis, NotYet
from scanside.pipeline import Pipeline
from scanside_training.dicom.plan import plan_study
from scanside_training.dicom.write import write_study

if TYPE_CHECKING:
    from pathlib import Path

    from scanside.writers.dicom.context import Predecessor


@pytest.fixture(scope="module")
def analyst() -> Analyst:
    bundle = open_bundle()
    pipeline = Pipeline(MadeUpBackend("int8"), bundle.manifest.thresholds)
    return Analyst(bundle, pipeline, load_rules(), fill=False)


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """A study of three series of six slices."""
    images = np.stack([toy.lesion_slice(n) for n in range(6)])
    write_study(plan_study(images, study="node"), tmp_path)
    return sorted(path for path in tmp_path.rglob("*") if path.is_file())


def claim(
    files: list[Path],
    *,
    overdue: bool = False,
    current: Predecessor | None = None,
    predecessors: tuple[Predecessor, ...] = (),
) -> Claim:
    return Claim("1.2", 1, tuple(files), 0.0, overdue, current, predecessors)


def report(analysis: Analysis | NotYet) -> Dataset:
    assert isinstance(analysis, Analysis)
    (found,) = (each for each in analysis.objects if each.kind == "sr")
    return dcmread(BytesIO(found.content))


def test_a_whole_study_gets_a_report_and_a_segmentation(
    analyst: Analyst, files: list[Path]
) -> None:
    found = analyst(claim(files))
    assert isinstance(found, Analysis)
    assert found.outcome == "complete"
    assert {each.kind for each in found.objects} == {"sr", "seg"}
    assert set(found.seconds) == {"assemble", "analyse", "encode"}
    assert b"made-up" in found.objects[0].content  # a made-up result says so


def test_the_same_study_again_is_the_same_result_to_the_byte(
    analyst: Analyst, files: list[Path]
) -> None:
    first = analyst(claim(files))
    assert isinstance(first, Analysis)
    again = analyst(claim(files, current=first.objects[0].reference))
    assert isinstance(again, Analysis)
    assert [each.content for each in again.objects] == [each.content for each in first.objects]


def test_a_study_with_a_gap_waits_and_is_incomplete_when_overdue(
    analyst: Analyst, files: list[Path]
) -> None:
    gap = files[:1] + files[2:]
    waits = analyst(claim(gap))
    assert isinstance(waits, NotYet)
    assert "missing positions" in waits.reason
    overdue = analyst(claim(gap, overdue=True))
    assert isinstance(overdue, Analysis)
    assert overdue.outcome == "incomplete"
    assert [each.kind for each in overdue.objects] == ["sr"]
    assert b"missing positions" in overdue.objects[0].content


def test_a_missing_sequence_waits(analyst: Analyst, files: list[Path]) -> None:
    flair = [path for path in files if dcmread(path, stop_before_pixels=True).SeriesNumber == 2]
    waits = analyst(claim(flair))
    assert isinstance(waits, NotYet)
    assert "missing sequence" in waits.reason


def test_a_later_result_supersedes_the_one_before(analyst: Analyst, files: list[Path]) -> None:
    incomplete = analyst(claim(files[:-1], overdue=True))
    assert isinstance(incomplete, Analysis)
    former = incomplete.objects[0].reference
    whole = analyst(claim(files, current=former))
    assert isinstance(whole, Analysis)
    (superseded,) = report(whole).PredecessorDocumentsSequence
    item = superseded.ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert item.ReferencedSOPInstanceUID == former.sop_instance_uid
    # The same files once more, as after a resend in another transfer syntax: nothing new.
    again = analyst(claim(files, current=whole.objects[0].reference, predecessors=(former,)))
    assert isinstance(again, Analysis)
    assert again.objects[0].reference == whole.objects[0].reference


def test_two_patients_under_one_study_get_no_report(analyst: Analyst, files: list[Path]) -> None:
    other = dcmread(files[0])
    other.PatientID = "CANARY"
    dcmwrite(files[0], other)
    with pytest.raises(InputError, match="different patients: the files differ in") as caught:
        analyst(claim(files, overdue=True))
    assert "CANARY" not in str(caught.value)


def test_what_cannot_be_read_gets_no_report(analyst: Analyst, tmp_path: Path) -> None:
    path = tmp_path / "x.dcm"
    path.write_bytes(b"\0" * 128 + b"DICM" + b"\xff" * 50)
    with pytest.raises(InputError, match="no object can be read"):
        analyst(claim([path], overdue=True))


def test_a_study_with_an_object_that_cannot_be_read_is_not_complete(
    analyst: Analyst, files: list[Path]
) -> None:
    """Whichever slices are left in all series: they would pass for a whole study."""
    last: dict[str, Path] = {}
    for path in sorted(files, key=lambda each: dcmread(each).ImagePositionPatient[2]):
        last[dcmread(path).SeriesInstanceUID] = path
    for path in last.values():
        path.write_bytes(path.read_bytes()[:-1000])
    waits = analyst(claim(files))
    assert isinstance(waits, NotYet)
    assert "3 files beside its series cannot be read" in waits.reason
    overdue = analyst(claim(files, overdue=True))
    assert isinstance(overdue, Analysis)
    assert overdue.outcome == "incomplete"
    assert b"3 files beside its series cannot be read" in overdue.objects[0].content


def test_made_up_results_stay_on_this_computer() -> None:
    text = """
[node]
ae_title = "A"
[[peers]]
ae_title = "B"
addresses = ["127.0.0.1"]
[[destinations]]
name = "pacs"
ae_title = "PACS"
address = "{}"
port = 104
[spool]
folder = "s"
"""
    check_loopback(parse_listen_config(text.format("127.0.0.1")))
    for address in ("10.0.0.1", "localhost"):
        with pytest.raises(UsageError, match="made-up results for pacs"):
            check_loopback(parse_listen_config(text.format(address)))
