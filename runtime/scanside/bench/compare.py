"""Two measurements side by side: ratios with their intervals, and what else differs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
import numpy as np

from scanside.bench.schema import BENCH_SCHEMA, BenchResult
from scanside.bench.statistics import Ratio, mean, median, ratio_interval
from scanside.bench.summaries import CLASSES, members
from scanside.errors import InputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["Comparison", "Row", "compare", "read_result"]

_SAME_RATE: Final = 0.01
"""Distance of two positive rates from which the mixes are two different workloads."""


class Row(NamedTuple):
    """One ratio, new over old; below 1 is faster.

    Attributes
    ----------
    name
        The class.
    statistic
        ``median`` or ``mean``.
    old, new
        Milliseconds.
    ratio
        With its interval.
    """

    name: str
    statistic: str
    old: float
    new: float
    ratio: Ratio

    @property
    def verdict(self) -> str:
        """The ratio in a word: an interval that holds 1 shows no difference."""
        if self.ratio.high < 1:
            return "faster"
        return "slower" if self.ratio.low > 1 else "no difference shown"


class Comparison(NamedTuple):
    """What differs between an old result and a new one.

    Attributes
    ----------
    old
        Where the old one comes from.
    rows
        The ratios.
    differences
        What else differs, in words.
    valid
        Whether both may be quoted.
    """

    old: str
    rows: tuple[Row, ...]
    differences: tuple[str, ...]
    valid: bool

    def verdict(self, row: Row) -> str:
        """Say the ratio in a word, if both measurements may be quoted."""
        return row.verdict if self.valid else "no conclusion: INVALID"


def read_result(path: Path) -> BenchResult:
    """Read a result that ``scanside bench --json`` wrote.

    Raises
    ------
    InputError
        If it can't be read or is of another schema.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=BenchResult)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error
    except msgspec.DecodeError as error:
        raise InputError(
            f"{path}: {error}",
            accepted=f"a result of the schema {BENCH_SCHEMA}",
            remedy="measure again with this version: scanside bench --json FILE",
        ) from error


def check_comparable(old: BenchResult, scenario: str, path: Path) -> None:
    """Refuse an old result of another scenario, before anything is measured.

    Raises
    ------
    UsageError
        If the scenarios differ.
    """
    if old.settings.scenario != scenario:
        raise UsageError(
            f"{path} is a result of --scenario {old.settings.scenario}, and this is {scenario}",
            accepted="results of one scenario",
            remedy=f"add --scenario {old.settings.scenario}, or compare with another result",
        )


def compare(new: BenchResult, old: BenchResult, path: Path) -> Comparison:
    """Compare two results of one scenario.

    The intervals hold what varies within a measurement; what varies between two starts of the
    program (memory layout, clocks, temperature) they can't hold.

    Parameters
    ----------
    new, old
        The results.
    path
        Where the old one comes from.

    Raises
    ------
    UsageError
        If the scenarios differ, or a class has fewer than two samples.
    """
    check_comparable(old, new.settings.scenario, path)
    return Comparison(
        old=str(path),
        rows=tuple(_rows(new, old)),
        differences=tuple(_differences(new, old)),
        valid=new.verdict.valid and old.verdict.valid,
    )


def _rows(new: BenchResult, old: BenchResult) -> Iterator[Row]:
    for name in CLASSES:
        if name == "mix" and not _same_mix(new, old):
            continue
        series = [
            np.array(result.samples.latency)[members(result.samples, name)] for result in (new, old)
        ]
        if min(map(len, series)) < 2:  # noqa: PLR2004 - one sample has no spread
            continue
        for statistic in (median, mean):
            ratio = ratio_interval(series[0], series[1], statistic, seed=new.settings.seed)
            found = [statistic(each) for each in series]
            yield Row(name, statistic.__name__, found[1], found[0], ratio)


def _same_mix(new: BenchResult, old: BenchResult) -> bool:
    rates = [result.workload.achieved_positive_rate for result in (new, old)]
    return abs(rates[0] - rates[1]) <= _SAME_RATE


def _differences(new: BenchResult, old: BenchResult) -> Iterator[str]:
    for which, result in (("old", old), ("new", new)):
        if not result.verdict.valid:
            yield f"the {which} result is INVALID: {'; '.join(result.verdict.reasons)}"
    if not _same_mix(new, old):
        yield "the positive rates differ: the mixes are not compared"
    for part in ("backend", "precision", "bundle", "settings", "workload", "environment"):
        before, after = (dict(_flat(part, getattr(result, part))) for result in (old, new))
        for name in sorted(before.keys() | after.keys()):
            one, other = before.get(name, "absent"), after.get(name, "absent")
            if one != other:
                yield f"{name}: {one} -> {other}"


def _flat(name: str, value: Any) -> Iterator[tuple[str, str]]:  # noqa: ANN401 - any field
    plain = msgspec.to_builtins(value)
    if isinstance(plain, dict):
        for key, inner in plain.items():
            yield from _flat(f"{name}.{key}", inner)
    else:
        yield name, f"{plain:.4g}" if isinstance(plain, float) else str(plain)
