"""The losses against numbers worked out by hand and against numerical gradients."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="needs the extra train")

import tensorflow as tf

from scanside_training.config import LossConfig
from scanside_training.losses import (
    cross_entropy,
    dice_cross_entropy,
    focal_tversky,
    mask_loss,
    tversky,
    tversky_index,
)

pytestmark = pytest.mark.tf

MASK = np.array([[[1, 1], [0, 0]]], np.float32)
LOGITS = np.log(np.array([[[3, 1], [1, 1 / 3]]], np.float32))  # p = 0.75, 0.5, 0.5, 0.25
# TP = 1.25, FN = 0.75, FP = 0.75


def test_tversky_index_by_hand() -> None:
    index = float(tversky_index(MASK, LOGITS, alpha=0.7, per_image=False))
    assert index == pytest.approx((1.25 + 1) / (1.25 + 0.7 * 0.75 + 0.3 * 0.75 + 1), rel=1e-6)


def test_missed_pixels_weigh_alpha_and_false_ones_the_rest() -> None:
    sure = np.float32(100.0)
    missed = tversky(MASK, np.full_like(MASK, -sure), alpha=0.7)
    # TP = 0, FN = 2, FP = 0
    assert float(missed) == pytest.approx(1 - 1 / (0.7 * 2 + 1), rel=1e-6)
    false = tversky(np.zeros_like(MASK), np.full_like(MASK, sure), alpha=0.7)
    # TP = 0, FN = 0, FP = 4
    assert float(false) == pytest.approx(1 - 1 / (0.3 * 4 + 1), rel=1e-6)


def test_focal_tversky_is_the_error_to_the_power_of_three_quarters() -> None:
    error = 1 - float(tversky_index(MASK, LOGITS, alpha=0.7, per_image=False))
    loss = float(focal_tversky(MASK, LOGITS))
    assert loss == pytest.approx(error**0.75, rel=1e-6)


def test_alpha_one_half_is_dice() -> None:
    dice = (2 * 1.25 + 2) / (2 * 1.25 + 0.75 + 0.75 + 2)
    loss = float(dice_cross_entropy(MASK, LOGITS)) - float(cross_entropy(MASK, LOGITS))
    assert loss == pytest.approx(1 - dice, rel=1e-5)


def test_cross_entropy_by_hand() -> None:
    expected = -np.mean(np.log([0.75, 0.5, 0.5, 0.75]))
    assert float(cross_entropy(MASK, LOGITS)) == pytest.approx(expected, rel=1e-6)


def test_per_image_averages_the_images() -> None:
    masks = np.concatenate([MASK, np.zeros_like(MASK)])
    logits = np.concatenate([LOGITS, LOGITS])
    single = [float(tversky(masks[n : n + 1], logits[n : n + 1])) for n in (0, 1)]
    assert float(tversky(masks, logits, per_image=True)) == pytest.approx(np.mean(single))
    # TP = 1.25, FN = 0.75, FP = 0.75 + 2 over the batch
    batch = 1 - (1.25 + 1) / (1.25 + 0.7 * 0.75 + 0.3 * 2.75 + 1)
    assert float(tversky(masks, logits)) == pytest.approx(batch, rel=1e-6)


LOSSES = {
    "tversky": tversky,
    "focal-tversky": focal_tversky,
    "dice-cross-entropy": dice_cross_entropy,
}


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("per_image", [True, False])
def test_gradients_are_the_numerical_ones(name: str, per_image: bool) -> None:  # noqa: FBT001
    random = np.random.default_rng(2)
    mask = (random.random((2, 3, 3, 1)) < 0.4).astype(np.float32)
    logits = random.normal(size=mask.shape).astype(np.float32)
    variable = tf.Variable(logits)
    with tf.GradientTape() as tape:
        loss = LOSSES[name](mask, variable, per_image=per_image)
    gradient = tape.gradient(loss, variable).numpy()
    step = 1e-2
    for place in [(0, 0, 0, 0), (1, 2, 1, 0), (0, 1, 2, 0)]:
        change = np.zeros_like(logits)
        change[place] = step
        ahead = float(LOSSES[name](mask, logits + change, per_image=per_image))
        behind = float(LOSSES[name](mask, logits - change, per_image=per_image))
        assert gradient[place] == pytest.approx((ahead - behind) / (2 * step), abs=2e-4)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("mask", [0.0, 1.0])
@pytest.mark.parametrize("logit", [-1e4, 0.0, 1e4])
def test_extremes_are_finite_with_finite_gradients(name: str, mask: float, logit: float) -> None:
    logits = tf.Variable(np.full((2, 4, 4, 1), logit, np.float32))
    with tf.GradientTape() as tape:
        loss = LOSSES[name](np.full((2, 4, 4, 1), mask, np.float32), logits)
    assert math.isfinite(float(loss))
    assert np.isfinite(tape.gradient(loss, logits).numpy()).all()


@pytest.mark.parametrize("name", LOSSES)
def test_a_perfect_prediction_costs_nothing(name: str) -> None:
    sure = np.where(MASK > 0, 50, -50).astype(np.float32)
    # The focal loss flattens below its smallest error, 1e-6 ** 0.75.
    assert float(LOSSES[name](MASK, sure)) == pytest.approx(0.0, abs=1e-4)


@pytest.mark.parametrize("name", LOSSES)
def test_low_precision_logits_are_computed_with_in_float32(name: str) -> None:
    low: Any = tf.cast(LOGITS, tf.bfloat16)
    loss = LOSSES[name](MASK.astype(np.uint8), low)
    assert loss.dtype == tf.float32
    assert float(loss) == pytest.approx(float(LOSSES[name](MASK, LOGITS)), rel=5e-3)


@pytest.mark.parametrize("name", LOSSES)
def test_the_configuration_names_the_loss(name: str) -> None:
    config = msgspec.convert({"name": name, "alpha": 0.6, "gamma": 2.0}, LossConfig)
    options = {"tversky": {"alpha": 0.6}, "focal-tversky": {"alpha": 0.6, "gamma": 2.0}}
    expected = LOSSES[name](MASK, LOGITS, **options.get(name, {}))
    assert float(mask_loss(config)(MASK, LOGITS)) == pytest.approx(float(expected), rel=1e-6)
