"""Whether a measurement may be quoted, and why not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from scanside.bench.schema import Verdict
from scanside.bench.statistics import coefficient_of_variation, normalised, window_medians

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scanside.bench.schema import (
        Disturbance,
        Environment,
        LoadGenReport,
        Samples,
        Settings,
        Workload,
    )

__all__ = ["Evidence", "judge", "stability"]

CV_LIMIT: Final = 0.25
"""Coefficient of variation of the work on slices of one class. On a quiet machine it is below
0.1; at 0.25 the mean of 60 slices is known to 6 % at best (two standard errors)."""

DRIFT_LIMIT: Final = 0.10
"""By how much the slowest window's median may exceed the fastest window's."""

WINDOWS: Final = 5
FEWEST_IN_WINDOW: Final = 10
"""Samples of a window: the median of fewer is noise by itself."""

STEAL_LIMIT: Final = 0.01
"""Share of the processor time that a hypervisor may give to others."""

OTHERS_LIMIT: Final = 0.10
"""Share of the cores that other processes may use."""

RATE_LIMIT: Final = 0.05
"""Distance from the positive rate that was asked for: LoadGen draws slices at random."""

_FULL: Final = "performance"


class Evidence(NamedTuple):
    """What the verdict rests on."""

    settings: Settings
    samples: Samples
    workload: Workload
    environment: Environment
    disturbance: Disturbance
    loadgen: LoadGenReport | None
    astray: int
    not_finite: int


def judge(evidence: Evidence) -> Verdict:
    """Say whether a measurement may be quoted; every reason against it is listed."""
    reasons = (
        *stability(evidence.samples),
        *_disturbed(evidence.disturbance),
        *_outputs(evidence),
        *_loadgen(evidence.loadgen),
    )
    return Verdict(valid=not reasons, reasons=reasons, notes=tuple(_notes(evidence)))


def stability(samples: Samples) -> Iterator[str]:
    """Yield reasons why a series is not stable.

    Each sample's work is divided by the median of those with as many slices and as many
    positive ones: the mix of classes is no instability.
    """
    work = np.array(samples.work, np.float64)
    sizes, positive = (np.array(column, np.int64) for column in (samples.slices, samples.positive))
    windows = min(WINDOWS, len(work) // FEWEST_IN_WINDOW)
    if windows < 2:  # noqa: PLR2004 - one window has nothing to be compared with
        yield (
            f"{len(work)} samples are too few to tell whether they are stable:"
            f" {2 * FEWEST_IN_WINDOW} at least (longer --duration, more --iterations)"
        )
        return
    relative = normalised(work, sizes * (int(sizes.max()) + 1) + positive)
    spread = coefficient_of_variation(relative)
    if spread is not None and spread > CV_LIMIT:
        yield f"unstable: coefficient of variation {spread:.2f}, at most {CV_LIMIT:g}"
    medians = window_medians(relative, windows)
    drift = float(medians.max() / medians.min()) - 1
    if drift > DRIFT_LIMIT:
        slowest, fastest = int(medians.argmax()) + 1, int(medians.argmin()) + 1
        yield (
            f"unstable: window {slowest} of {windows} is {drift:.0%} slower than window"
            f" {fastest}, at most {DRIFT_LIMIT:.0%}"
        )


def _disturbed(disturbance: Disturbance) -> Iterator[str]:
    if disturbance.cgroup_throttled:
        yield f"throttled: the cgroup's quota stopped it {disturbance.cgroup_throttled} times"
    for name, events in disturbance.thermal_events.items():
        yield f"throttled: {events} events of {name}"
    for name, state in disturbance.cooling.items():
        yield f"throttled: {name} was in state {state}"
    if disturbance.steal_share is not None and disturbance.steal_share > STEAL_LIMIT:
        yield (
            f"disturbed: the hypervisor gave {disturbance.steal_share:.1%} of the processor time"
            f" to others, at most {STEAL_LIMIT:.0%}"
        )
    if disturbance.others_share is not None and disturbance.others_share > OTHERS_LIMIT:
        yield (
            f"disturbed: other processes used {disturbance.others_share:.0%} of the cores,"
            f" at most {OTHERS_LIMIT:.0%}"
        )


def _outputs(evidence: Evidence) -> Iterator[str]:
    if evidence.astray:
        yield f"{evidence.astray} slices took another route through the gate than before"
    if evidence.not_finite:
        yield f"the classifier's output was not finite for {evidence.not_finite} slices"
    asked, achieved = evidence.settings.positive_rate, evidence.workload.achieved_positive_rate
    if asked is not None and abs(achieved - asked) > RATE_LIMIT:
        yield (f"the positive rate was {achieved:.3f} and {asked:g} was asked for: measure longer")


def _loadgen(report: LoadGenReport | None) -> Iterator[str]:
    if report is None:
        return
    if report.result != "VALID":
        unmet = [name for name, met in report.constraints.items() if not met]
        words = (", ".join(f"not {name}" for name in unmet), report.invalid_reason)
        texts = (*words, report.early_stopping)
        yield f"LoadGen says {report.result}: {'; '.join(text for text in texts if text)}"
    for error in report.errors:
        yield f"LoadGen logged an error: {error}"


def _notes(evidence: Evidence) -> Iterator[str]:
    held = evidence.environment
    slow = {name: value for name, value in held.governors.items() if value != _FULL}
    if slow:
        listed = ", ".join(f"{name} {value}" for name, value in slow.items())
        yield f"clocks are governed ({listed}): figures depend on what ran before"
    if not held.governors:
        yield "no clock governor is visible here"
    if held.virtualised:
        yield "a virtual machine: clocks and temperature can't be seen from inside"
    if evidence.disturbance.others_share is None:
        yield "what other processes used can't be told here"
    positive = sum(evidence.samples.positive)
    if not 0 < positive < sum(evidence.samples.slices):
        yield f"one class only: every slice was {'positive' if positive else 'negative'}"
    for warning in evidence.loadgen.warnings if evidence.loadgen else ():
        yield f"LoadGen warns: {warning}"
