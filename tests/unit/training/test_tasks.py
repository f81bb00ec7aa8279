from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("tensorflow", reason="needs the extra train")

from scanside_training.config import ClassifierConfig, Phase, SegmenterConfig
from scanside_training.losses import cross_entropy, dice_cross_entropy
from scanside_training.tasks import (
    classifier_metrics,
    false_response,
    segmenter_metrics,
    slice_auc,
    training_loss,
)

pytestmark = pytest.mark.tf

PHASES = (Phase(epochs=1),)


@given(
    scores=st.lists(st.integers(0, 6), min_size=4, max_size=30),
    positives=st.integers(1, 3),
    seed=st.integers(0, 99),
)
def test_auc_is_the_chance_of_a_higher_score(scores: list[int], positives: int, seed: int) -> None:
    positive = np.random.default_rng(seed).permutation(np.arange(len(scores)) < positives)
    values = np.array(scores, np.float32) / 6
    wins = [
        1.0 if one > other else 0.5 if one == other else 0.0
        for one in values[positive]
        for other in values[~positive]
    ]
    assert slice_auc(values, positive) == pytest.approx(np.mean(wins))


def test_classifier_metrics_by_hand() -> None:
    metrics = classifier_metrics(
        np.array([0.9, 0.2, 0.4], np.float32), np.array([True, False, True])
    )
    assert metrics["auc"] == 1.0
    assert metrics["loss"] == pytest.approx(-np.log([0.9, 0.8, 0.4]).mean(), rel=1e-6)


def test_a_sure_mistake_has_a_finite_loss() -> None:
    metrics = classifier_metrics(np.array([0.0, 1.0], np.float32), np.array([True, False]))
    assert metrics == {"auc": 0.0, "loss": pytest.approx(16.1, abs=0.1)}


def test_dice_is_by_volume_then_by_patient() -> None:
    masks = np.zeros((5, 2, 2), np.uint8)
    masks[0] = masks[1] = masks[2] = [[1, 1], [0, 0]]
    probability = np.zeros((5, 2, 2), np.float32)
    probability[0, 0] = 0.9  # A: 2 of 2 found, then 0 of 2
    probability[2] = 0.6  # B: 2 of 2 found, 2 false
    probability[3, 0, 0] = 0.5  # a negative slice with one false pixel; another with none
    metrics = segmenter_metrics(probability, masks, ["A", "A", "B", "A", "B"])
    assert metrics["dice"] == pytest.approx(np.mean([2 * 2 / (2 + 4), 2 * 2 / (4 + 2)]))
    assert metrics["false_px"] == 0.5


def test_the_response_of_a_mask_is_its_area() -> None:
    planes = np.zeros((2, 4, 4), np.float32)
    planes[1, :2] = 0.5
    assert false_response(planes).tolist() == [0.0, 4.0]
    assert false_response(np.array([0.25, 0.75], np.float32)).tolist() == [0.25, 0.75]


def test_the_classifier_learns_labels_and_masks() -> None:
    random = np.random.default_rng(1)
    mask = np.zeros((2, 8, 8, 1), np.uint8)
    mask[0, :4, :6] = 1
    label = np.array([[1.0], [0.0]], np.float32)
    logit = random.normal(size=(2, 1)).astype(np.float32)
    mask_logits = random.normal(size=(2, 2, 2, 1)).astype(np.float32)
    config = ClassifierConfig(phases=PHASES)
    found = float(training_loss(config)({"label": label, "mask": mask}, [logit, mask_logits]))
    share = np.array([[[1, 0.5], [0, 0]], [[0, 0], [0, 0]]], np.float32)[..., np.newaxis]
    expected = cross_entropy(label, logit) + dice_cross_entropy(share, mask_logits)
    assert found == pytest.approx(float(expected), rel=1e-6)


def test_the_segmenter_learns_masks() -> None:
    mask = np.zeros((1, 4, 4, 1), np.uint8)
    mask[0, 1] = 1
    logits = np.linspace(-2, 2, 16, dtype=np.float32).reshape(mask.shape)
    found = training_loss(SegmenterConfig(phases=PHASES))({"mask": mask}, logits)
    assert float(found) == pytest.approx(float(dice_cross_entropy(mask, logits)), rel=1e-6)
