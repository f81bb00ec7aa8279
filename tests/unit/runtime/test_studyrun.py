"""A study through the toy models: findings on its grid, the same as of its slices alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

import toy
from scanside import Pipeline
from scanside.contract import Thresholds
from scanside.preprocess import Window
from scanside.study.grid import Grid
from scanside.study.model import Source, Study, View
from scanside.studyrun import analyse_study
from scanside.writers.files import OutputFolder

if TYPE_CHECKING:
    from pathlib import Path

    from scanside.lanes import Analysed

VIEW = View((0, 1, 2), (False, False, False))


def make(images: np.ndarray, spacing: tuple[float, float, float] = (1.0, 1.0, 5.0)) -> Study:
    """A study of these slices; spacing of columns, rows, slices."""
    affine = np.diag([*spacing, 1.0])
    grid = Grid(affine, (len(images), images.shape[1], images.shape[2]))
    flair = Source("FLAIR", grid, Window(0, 255), "0" * 64)
    return Study("study", "dicom", images, grid, VIEW, (flair,))


@pytest.fixture
def study() -> Study:
    """Six slices, a lesion in every second."""
    return make(np.stack([toy.lesion_slice(n, lesion=n % 2 == 0) for n in range(6)]))


def test_findings_are_those_of_the_slices(study: Study, toy_pipeline: Pipeline) -> None:
    alone = [toy_pipeline.analyse(image) for image in study.images]
    seen: list[Analysed] = []
    findings = analyse_study(study, toy_pipeline, seen=seen.append)
    assert [record.tumor for record in findings.records] == [each.tumor for each in alone]
    for mask, each in zip(findings.masks, alone, strict=True):
        assert np.array_equal(mask, np.zeros_like(mask) if each.region is None
                              else each.region.mask)  # fmt: skip
    assert findings.status == "ok"
    assert findings.found
    assert findings.measures.slices == (0, 2, 4)
    assert findings.measures.volume_ml == pytest.approx(findings.masks.sum() * 5 / 1000)
    assert [each.record for each in seen] == list(findings.records)
    assert findings.records[0].area_mm2 == findings.masks[0].sum()


def test_a_stopped_study_is_incomplete(study: Study, toy_pipeline: Pipeline) -> None:
    findings = analyse_study(study, toy_pipeline, stop=lambda: True)
    assert findings.status == "incomplete"
    assert not findings.records


def test_a_contradiction_makes_the_study_indeterminate(
    study: Study, toy_pipeline: Pipeline
) -> None:
    sure = Thresholds(gate=0.0, decision=0.0, mask=1.0, chosen="outlines nothing, ever")
    findings = analyse_study(study, Pipeline(toy_pipeline.backend, sure))
    assert findings.status == "indeterminate"
    assert not findings.found


def test_pictures_are_named_after_study_and_slice(
    study: Study, toy_pipeline: Pipeline, tmp_path: Path
) -> None:
    output = OutputFolder(tmp_path / "out")
    findings = analyse_study(study, toy_pipeline, pictures="study_1", output=output)
    output.close()
    names = [record.mask for record in findings.records]
    assert names == ["masks/study_1/slice_000_mask.png", None, "masks/study_1/slice_002_mask.png",
                     None, "masks/study_1/slice_004_mask.png", None]  # fmt: skip
    assert all((output.path / name).exists() for name in names if name)


def test_pixels_that_are_not_square_are_seen_square(toy_pipeline: Pipeline) -> None:
    whole = toy.lesion_slice(0)
    halved = whole.reshape(128, 2, 256, 3).mean(axis=1).astype(np.uint8)
    findings = analyse_study(make(halved[np.newaxis], (1.0, 2.0, 5.0)), toy_pipeline)
    region = toy_pipeline.analyse(whole).region
    assert region is not None
    assert findings.masks.shape == (1, 128, 256)
    assert findings.masks.sum() * 2 == pytest.approx(region.area, rel=0.03)


def test_filled_sequences_are_in_every_record(study: Study, toy_pipeline: Pipeline) -> None:
    filled = Study(study.name, "dicom", study.images, study.grid, VIEW, study.sources,
                   filled=("post-contrast",))  # fmt: skip
    findings = analyse_study(filled, toy_pipeline)
    assert {record.filled for record in findings.records} == {("post-contrast",)}
