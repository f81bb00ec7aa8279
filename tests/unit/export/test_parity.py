from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import toy
from scanside.errors import ParityError
from scanside_export.parity import check_parity, compare, session

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scanside.contract import Thresholds


def probabilities(*values: float) -> NDArray[np.float32]:
    return np.float32(values).reshape(-1, 1)


def test_the_largest_error_its_slice_and_the_share_of_equal_decisions(
    thresholds: Thresholds,
) -> None:
    found = compare(
        "classifier",
        probabilities(0.1, 0.29, 0.5, 0.9),
        probabilities(0.1, 0.31, 0.45, 0.9),
        thresholds,
    )
    assert found.max_abs_error == pytest.approx(0.05)
    assert found.worst == 2
    assert found.same_decision == 0.75


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_an_infinite_error(
    thresholds: Thresholds, bad: float
) -> None:
    found = compare("classifier", probabilities(0.1, 0.2), probabilities(0.1, bad), thresholds)
    assert (found.max_abs_error, found.worst) == (np.inf, 1)


def test_masks_decide_by_their_pixels(thresholds: Thresholds) -> None:
    reference = np.zeros((2, 256, 256), np.float32)
    reference[:, 100:140, 100:140] = 0.9
    candidate = reference.copy()
    candidate[1, 100, 100:104] = 0.1  # 4 of 1600 pixels: Dice 0.9987
    found = compare("segmenter", reference, candidate, thresholds)
    assert found.same_decision == 0.5
    assert found.worst == 1


def test_another_shape_is_refused(thresholds: Thresholds) -> None:
    with pytest.raises(ParityError, match=r"shape \[2, 2\]"):
        compare("classifier", probabilities(0.1, 0.2), np.zeros((2, 2), np.float32), thresholds)


class Shifted:
    """A Keras model that gives what the toy classifier gives, and `error` more for slice 2."""

    def __init__(self, error: float) -> None:
        self._error = error
        self._run = session(toy.classifier().SerializeToString(), "classifier")
        self._calls = 0

    def __call__(self, images: NDArray[np.uint8], *, training: bool) -> NDArray[np.float32]:
        assert not training
        output = self._run(images)
        output[2] += self._error
        return output


def parity(model: Any, thresholds: Thresholds) -> Any:
    pytest.importorskip("keras", reason="needs the train extra")
    return check_parity(
        "classifier",
        model,
        toy.classifier().SerializeToString(),
        np.stack([toy.lesion_slice(seed) for seed in range(4)]),
        thresholds=thresholds,
        names=["a", "b", "c", "d"],
        data="toy slices",
    )


@pytest.mark.tf
def test_equal_outputs_are_evidence(thresholds: Thresholds) -> None:
    found = parity(Shifted(0.0), thresholds)
    assert found.max_abs_error <= 1e-6
    assert (found.slices, found.data, found.same_decision) == (4, "toy slices", 1.0)
    assert found.reference.startswith("keras ")


@pytest.mark.tf
def test_an_error_beyond_the_tolerance_names_the_slice(thresholds: Thresholds) -> None:
    with pytest.raises(ParityError, match="differs from Keras by 0.0003 in c") as caught:
        parity(Shifted(3e-4), thresholds)
    assert caught.value.exit_code == 5
