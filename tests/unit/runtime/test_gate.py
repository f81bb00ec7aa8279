from __future__ import annotations

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scanside.contract import Thresholds
from scanside.gate import Route, decide, route

THRESHOLDS = Thresholds(gate=0.2, decision=0.7, mask=0.5, chosen="by hand")
NOT_PROBABILITIES = [math.nan, math.inf, -math.inf, -0.001, 1.001]

probabilities = st.floats(0, 1)


@given(probabilities)
def test_the_gate_includes_its_threshold(probability: float) -> None:
    wanted = Route.SEGMENT if probability >= 0.2 else Route.SKIP
    assert route(probability, THRESHOLDS) is wanted


@pytest.mark.parametrize("value", NOT_PROBABILITIES)
@pytest.mark.parametrize("area", [None, -1, 0, 5])
def test_what_is_no_probability_is_indeterminate_never_negative(
    value: float, area: int | None
) -> None:
    assert route(value, THRESHOLDS) is Route.INDETERMINATE
    decision = decide(value, THRESHOLDS, area)
    assert decision.status == "indeterminate"
    assert decision.tumor is None
    assert decision.reason


@given(probabilities)
def test_skipped_is_no_region(probability: float) -> None:
    assert decide(probability, THRESHOLDS, None)[:2] == ("ok", False)


@given(probabilities, st.integers(1, 65536))
def test_a_mask_is_a_region(probability: float, area: int) -> None:
    assert decide(probability, THRESHOLDS, area)[:2] == ("ok", True)


@given(probabilities)
def test_an_empty_mask_contradicts_a_sure_classifier(probability: float) -> None:
    sure = probability >= 0.7
    wanted = ("indeterminate", None) if sure else ("ok", False)
    assert decide(probability, THRESHOLDS, 0)[:2] == wanted


@given(probabilities)
def test_a_mask_that_is_not_finite_is_indeterminate(probability: float) -> None:
    assert decide(probability, THRESHOLDS, -1)[:2] == ("indeterminate", None)


def test_decision_below_gate_is_refused() -> None:
    raw = b'{"gate":0.5,"decision":0.4,"mask":0.5,"chosen":""}'
    with pytest.raises(msgspec.ValidationError, match="below gate"):
        msgspec.json.decode(raw, type=Thresholds)
