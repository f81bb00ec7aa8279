"""Counts to figures: against their definitions, in degenerate cases, and as a document."""

from __future__ import annotations

import math
from pathlib import Path

import msgspec
import numpy as np
import pytest
import sklearn.metrics as reference
from hypothesis import given
from hypothesis import strategies as st

from scanside.contract import Thresholds
from scanside.evaluation.dataset import DatasetSlice
from scanside.evaluation.metrics import Overlap
from scanside.gate import decide
from scanside_training.document import Metrics, Models, Subject, build_metrics
from scanside_training.evaluate import SIZES, by_patient, figures
from scanside_training.measure import Measured

THRESHOLDS = Thresholds(gate=0.2, decision=0.8, mask=0.5, chosen="test")
MODELS = Models(
    name="toy 1", sha256={"manifest.json": "0" * 64}, backend="cpu", precision="fp32", versions={}
)
SUBJECT = Subject(
    dataset_sha256="1" * 64, part="test", split_seed=3, patients=2, slices=5, positive=3
)


def _measured(
    patient: str, probability: float, counts: tuple[int, int, int], hd95: float = 2.0
) -> Measured:
    overlap = Overlap(*counts)
    if not overlap.predicted or not overlap.true:
        hd95 = math.inf if overlap.predicted or overlap.true else math.nan
    item = DatasetSlice(patient, 1, Path("x.png"), None, overlap.true)
    return Measured(item, probability, overlap, hd95)


HAND = [
    _measured("A", 0.9, (100, 150, 120), hd95=3.0),  # found
    _measured("A", 0.1, (40, 50, 60), hd95=5.0),  # skipped
    _measured("A", 0.3, (0, 10, 0)),  # false region
    _measured("B", 0.85, (0, 0, 200)),  # indeterminate
    _measured("B", 0.05, (0, 0, 0)),  # right to skip
]


def test_by_hand() -> None:
    found = figures(by_patient(HAND), THRESHOLDS)
    # Positive slices alone: volumes of A (140, 200, 180) and B (0, 0, 200).
    assert found["segmenter.volume_dice"] == pytest.approx((280 / 380 + 0) / 2)
    assert found["segmenter.slice_dice"] == pytest.approx((200 / 270 + 80 / 110 + 0) / 3)
    assert found["segmenter.slice_iou"] == pytest.approx((100 / 170 + 40 / 70 + 0) / 3)
    assert found["segmenter.slice_hd95_mean_px"] == 4.0
    assert found["segmenter.slice_hd95_median_px"] == 5.0
    assert found["segmenter.no_mask"] == pytest.approx(1 / 3)
    # After gating: A loses the slice of 60 px and keeps the false one; B has nothing.
    assert found["pipeline.volume_dice"] == pytest.approx((200 / (160 + 180) + 0) / 2)
    assert found["pipeline.volume_iou"] == pytest.approx((100 / (160 + 180 - 100) + 0) / 2)
    assert found["pipeline.slice_dice"] == pytest.approx((200 / 270) / 3)
    assert found["pipeline.slice_hd95_mean_px"] == 3.0
    assert found["pipeline.slice_hd95_median_px"] == math.inf
    assert found["pipeline.sensitivity_at_gate"] == pytest.approx(2 / 3)
    assert found["pipeline.lesion_sensitivity_at_gate"] == 1.0
    assert found["pipeline.skipped"] == pytest.approx(2 / 5)
    assert found["pipeline.indeterminate"] == pytest.approx(1 / 5)
    assert found["pipeline.sensitivity"] == pytest.approx(1 / 3)
    assert found["pipeline.specificity"] == pytest.approx(1 / 2)
    assert found["pipeline.false_region"] == pytest.approx(1 / 2)
    assert found["classifier.at_half.recall"] == pytest.approx(2 / 3)
    assert found["classifier.at_gate.precision"] == pytest.approx(2 / 3)
    assert found["by_size.1-99.slices"] == 1
    assert found["by_size.1-99.sensitivity_at_gate"] == 0
    assert found["by_size.100-499.found"] == pytest.approx(1 / 2)
    assert found["by_size.100-499.indeterminate"] == pytest.approx(1 / 2)
    assert math.isnan(found["by_size.4000+.slice_dice"])


slices = st.builds(
    lambda patient, probability, common, predicted, true: _measured(
        patient, probability, (common, common + predicted, common + true)
    ),
    st.sampled_from("ABCD"),
    st.floats(0, 1, width=32),
    st.sampled_from([0, 0, 50, 700]),
    st.sampled_from([0, 0, 30]),
    st.sampled_from([0, 0, 90, 3000]),
)


@given(st.lists(slices, min_size=1, max_size=30))
def test_figures_are_those_of_the_slices_one_by_one(measured: list[Measured]) -> None:
    found = figures(by_patient(measured), THRESHOLDS)
    decisions = [
        decide(m.probability, THRESHOLDS, m.overlap.predicted if m.probability >= 0.2 else None)
        for m in measured
    ]
    positive = [m.item.positive for m in measured]
    pairs = list(zip(decisions, positive, strict=True))
    assert found["pipeline.indeterminate"] == pytest.approx(
        np.mean([d.status == "indeterminate" for d in decisions])
    )
    if any(positive):
        expected = np.mean([d.tumor is True for d, p in pairs if p])
        assert found["pipeline.sensitivity"] == pytest.approx(expected)
    if not all(positive):
        expected = np.mean([d.tumor is False for d, p in pairs if not p])
        assert found["pipeline.specificity"] == pytest.approx(expected)
    if any(positive) and not all(positive):
        probabilities = [m.probability for m in measured]
        expected = reference.roc_auc_score(positive, probabilities)
        assert found["classifier.auc"] == pytest.approx(expected)
    by_size = [found[f"by_size.{size.label}.slices"] for size in SIZES]
    assert sum(by_size) == sum(positive)


@given(st.lists(slices, min_size=1, max_size=30))
def test_a_gate_of_zero_gates_nothing(measured: list[Measured]) -> None:
    open_gate = Thresholds(gate=0.0, decision=1.0, mask=0.5, chosen="test")
    found = figures(by_patient(measured), open_gate)
    assert found["pipeline.skipped"] == 0
    for name in ("slice_dice", "slice_iou", "slice_hd95_median_px", "slice_hd95_mean_px"):
        assert found[f"pipeline.{name}"] == pytest.approx(found[f"segmenter.{name}"], nan_ok=True)


def test_the_names_are_the_same_whatever_the_slices() -> None:
    every = figures(by_patient(HAND), THRESHOLDS)
    assert list(figures(by_patient(HAND[:1]), THRESHOLDS)) == list(every)
    negative = figures(by_patient(HAND[-1:]), THRESHOLDS)
    assert list(negative) == list(every)
    assert math.isnan(negative["classifier.auc"])
    assert math.isnan(negative["segmenter.volume_dice"])
    assert negative["pipeline.volume_dice"] == 1.0
    assert negative["pipeline.specificity"] == 1.0


def test_a_patient_drawn_twice_counts_twice() -> None:
    one, other = by_patient(HAND)
    found = figures([one, one, other], THRESHOLDS)
    alone = [figures([each], THRESHOLDS)["pipeline.volume_dice"] for each in (one, other)]
    assert found["pipeline.volume_dice"] == pytest.approx((2 * alone[0] + alone[1]) / 3)


def test_the_document_survives_the_file() -> None:
    metrics = build_metrics(
        by_patient(HAND), MODELS, SUBJECT, THRESHOLDS, ["A note."], resamples=50
    )
    encoded = msgspec.json.encode(metrics)
    assert msgspec.json.decode(encoded, type=Metrics) == metrics
    assert msgspec.json.decode(encoded)["schema"] == "scanside.metrics/1"
    # What is infinite or not defined is null, never a number.
    assert metrics.figures["pipeline.slice_hd95_median_px"].value is None
    assert metrics.figures["by_size.4000+.found"].value is None
    auc = metrics.figures["classifier.auc"]
    assert auc.value is not None
    assert auc.low is not None
    assert auc.high is not None
    assert auc.low <= auc.value <= auc.high
    assert metrics.bootstrap == {"unit": "patient", "resamples": 50, "level": 0.95, "seed": 0}


def test_the_patients_rows_add_up() -> None:
    metrics = build_metrics(by_patient(HAND), MODELS, SUBJECT, THRESHOLDS, (), resamples=2)
    one, other = metrics.patients
    assert (one.patient, one.slices, one.positive, one.tumor_px) == ("A", 3, 2, 180)
    assert (one.skipped, one.found, one.missed, one.false_region) == (1, 1, 1, 1)
    assert one.slice_hd95_median_px == 4.0
    assert (other.indeterminate, other.found, other.missed) == (1, 0, 0)
    assert other.slice_hd95_median_px is None
    mean = (one.volume_dice + other.volume_dice) / 2
    assert metrics.figures["pipeline.volume_dice"].value == pytest.approx(mean)
    lone = build_metrics(by_patient(HAND[-1:]), MODELS, SUBJECT, THRESHOLDS, (), resamples=2)
    assert lone.patients[0].segmenter_volume_dice is None


def test_the_cost_curve_rises_and_holds_the_gate() -> None:
    metrics = build_metrics(by_patient(HAND), MODELS, SUBJECT, THRESHOLDS, (), resamples=2)
    gates = [point["gate"] for point in metrics.cost_curve]
    assert gates == sorted(set(gates), key=float)  # type: ignore[arg-type]
    assert gates[0] == 0.0
    here = next(point for point in metrics.cost_curve if point["gate"] == 0.2)
    assert here["skipped"] == metrics.figures["pipeline.skipped"].value
    assert here["volume_dice"] == metrics.figures["pipeline.volume_dice"].value
    assert sum(each["slices"] for each in metrics.calibration) == len(HAND)
