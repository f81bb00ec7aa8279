"""Two results side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from scanside.bench.compare import check_comparable, compare, read_result
from scanside.errors import InputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from scanside.bench.schema import BenchResult, Samples

OLD = Path("old.json")


def test_a_result_is_read_as_it_was_written(result: BenchResult, tmp_path: Path) -> None:
    (tmp_path / "r.json").write_bytes(result.encode())
    assert read_result(tmp_path / "r.json") == result


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ((b"scanside.bench/1", b"scanside.bench/2"), "schema"),
        ((b'"seconds":1.0', b'"seconds":-1.0'), "seconds"),
        ((b'"slices":[1,', b'"slices":['), "samples"),
        ((b"{", b"{,"), "malformed"),
    ],
)
def test_another_schema_is_refused_with_the_field(
    result: BenchResult, tmp_path: Path, change: tuple[bytes, bytes], place: str
) -> None:
    assert change[0] in result.encode()
    (tmp_path / "r.json").write_bytes(result.encode().replace(*change, 1))
    with pytest.raises(InputError, match=place):
        read_result(tmp_path / "r.json")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        read_result(tmp_path / "none.json")


def test_another_scenario_is_refused(result: BenchResult) -> None:
    with pytest.raises(UsageError, match="--scenario latency, and this is stream"):
        check_comparable(result, "stream", OLD)


def test_twice_as_fast_is_half_with_an_interval_around_it(
    result: BenchResult,
    samples: Callable[..., Samples],
    replaced: Callable[[BenchResult, Samples], BenchResult],
) -> None:
    new = replaced(result, samples(90, factor=0.5, seed=1))
    rows = {(row.name, row.statistic): row for row in compare(new, result, OLD).rows}
    classes = ("mix", "negative", "positive")
    assert set(rows) == {(name, kind) for name in classes for kind in ("median", "mean")}
    negative = rows["negative", "median"]
    assert negative.ratio.low < 3 / 5.5 < negative.ratio.high
    assert negative.ratio.high - negative.ratio.low < 0.05
    assert negative.verdict == "faster"
    assert compare(result, new, OLD).rows[2].verdict == "slower"


def test_a_result_does_not_differ_from_itself(result: BenchResult) -> None:
    found = compare(result, result, OLD)
    assert found.differences == ()
    assert {row.ratio.value for row in found.rows} == {1.0}
    assert {row.verdict for row in found.rows} == {"no difference shown"}


def test_what_differs_is_listed(result: BenchResult) -> None:
    replace = msgspec.structs.replace
    old = replace(
        result,
        bundle=replace(result.bundle, manifest_sha256="f" * 64),
        environment=replace(result.environment, governors={"policy0": "powersave"}),
        verdict=replace(result.verdict, valid=False, reasons=("unstable",)),
        precision="int8",
    )
    found = compare(result, old, OLD)
    assert {found.verdict(row) for row in found.rows} == {"no conclusion: INVALID"}
    text = "\n".join(found.differences)
    assert "the old result is INVALID: unstable" in text
    assert f"bundle.manifest_sha256: {'f' * 64} -> {'0' * 64}" in text
    assert "environment.governors.policy0: powersave -> performance" in text
    assert "precision: int8 -> fp32" in text


def test_mixes_of_other_rates_are_not_compared(result: BenchResult) -> None:
    workload = msgspec.structs.replace(result.workload, achieved_positive_rate=0.5)
    found = compare(result, msgspec.structs.replace(result, workload=workload), OLD)
    assert {row.name for row in found.rows} == {"negative", "positive"}
    assert any("positive rates differ" in text for text in found.differences)
