"""What makes a measurement invalid, one reason at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest

from scanside.bench.schema import LoadGenReport
from scanside.bench.verdict import Evidence, judge, stability

if TYPE_CHECKING:
    from collections.abc import Callable

    from scanside.bench.schema import BenchResult, Samples


def evidence_of(result: BenchResult, **changed: Any) -> Evidence:
    held = Evidence(
        settings=result.settings,
        samples=result.samples,
        workload=result.workload,
        environment=result.environment,
        disturbance=result.disturbance,
        loadgen=None,
        astray=0,
        not_finite=0,
    )
    return held._replace(**changed)


REPORT = LoadGenReport(
    version="6", result="VALID", constraints={"min duration satisfied": True}, early_stopping="",
    invalid_reason="", figures={}, settings={}, errors=(), warnings=(), summary="",
)  # fmt: skip


def test_a_quiet_measurement_is_valid_though_its_classes_differ(result: BenchResult) -> None:
    found = judge(evidence_of(result, loadgen=REPORT))
    assert found.valid
    assert (found.reasons, found.notes) == ((), ())


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("cgroup_throttled", 2, "quota stopped it 2 times"),
        ("thermal_events", {"cpu0 core_throttle_count": 3}, "3 events of cpu0"),
        ("cooling", {"cooling_device1 gpu": 2}, "cooling_device1 gpu was in state 2"),
        ("steal_share", 0.02, "hypervisor gave 2.0%"),
        ("others_share", 0.2, "other processes used 20%"),
    ],
)
def test_a_disturbance_is_a_reason(
    result: BenchResult, field: str, value: object, reason: str
) -> None:
    disturbed = msgspec.structs.replace(result.disturbance, **{field: value})
    found = judge(evidence_of(result, disturbance=disturbed))
    assert not found.valid
    assert [reason in each for each in found.reasons] == [True]


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"astray": 1}, "another route"),
        ({"not_finite": 1}, "not finite"),
        (
            {"loadgen": msgspec.structs.replace(
                REPORT, result="INVALID", constraints={"min duration satisfied": False},
                invalid_reason="Increase it.")},
            "LoadGen says INVALID: not min duration satisfied; Increase it.",
        ),
        ({"loadgen": msgspec.structs.replace(REPORT, errors=("broken",))}, "error: broken"),
    ],
)  # fmt: skip
def test_wrong_outputs_and_loadgens_verdict_are_reasons(
    result: BenchResult, changed: dict[str, Any], reason: str
) -> None:
    found = judge(evidence_of(result, **changed))
    assert [reason in each for each in found.reasons] == [True]


def test_another_positive_rate_than_asked_for_is_a_reason(result: BenchResult) -> None:
    asked = msgspec.structs.replace(result.settings, positive_rate=0.5)
    assert "0.333 and 0.5" in judge(evidence_of(result, settings=asked)).reasons[0]
    near = msgspec.structs.replace(result.settings, positive_rate=0.35)
    assert judge(evidence_of(result, settings=near)).valid


def test_noise_is_unstable(samples: Callable[..., Samples]) -> None:
    quiet, noisy = samples(300, noise=0.05), samples(300, noise=0.4)
    assert list(stability(quiet)) == []
    assert any("coefficient of variation" in reason for reason in stability(noisy))


@pytest.mark.parametrize(("drift", "stable"), [(1.05, True), (1.25, False)])
def test_a_series_that_slows_down_is_unstable(
    samples: Callable[..., Samples], drift: float, *, stable: bool
) -> None:
    held = samples(200, noise=0.01)
    slower = np.array(held.work) * np.linspace(1, drift, 200)
    found = list(stability(msgspec.structs.replace(held, work=tuple(slower.tolist()))))
    assert (found == []) == stable
    if not stable:
        assert "window 5 of 5" in found[0]
        assert "window 1" in found[0]


def test_few_samples_cannot_be_judged(samples: Callable[..., Samples]) -> None:
    assert "19 samples are too few" in next(iter(stability(samples(19))))
    assert list(stability(samples(20, noise=0.001))) == []


def test_batches_with_more_positive_slices_are_no_instability(
    samples: Callable[..., Samples],
) -> None:
    positive = tuple(n % 4 for n in range(80))
    held = msgspec.structs.replace(
        samples(80),
        slices=(8,) * 80,
        positive=positive,
        work=tuple(40.0 + 10 * p for p in positive),
    )
    assert list(stability(held)) == []


def test_notes_name_governors_and_a_missing_class(result: BenchResult) -> None:
    governed = msgspec.structs.replace(result.environment, governors={"policy0": "schedutil"})
    negative = msgspec.structs.replace(result.samples, positive=(0,) * 90)
    found = judge(evidence_of(result, environment=governed, samples=negative))
    assert any("policy0 schedutil" in note for note in found.notes)
    assert any("every slice was negative" in note for note in found.notes)
