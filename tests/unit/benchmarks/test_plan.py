from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerbench.execute import link_slices
from peerbench.plan import PEERS, alternating, products
from peerbench.results import Results

if TYPE_CHECKING:
    from collections.abc import Sequence

CLASS = st.lists(st.integers(0, 99), min_size=1, max_size=5, unique=True)


@given(CLASS, CLASS, st.integers(0, 30))
def test_classes_take_turns(one: Sequence[int], other: Sequence[int], each: int) -> None:
    order = alternating(one, other, each)
    assert len(order) == 2 * each
    assert set(order[::2]) <= set(one)
    assert set(order[1::2]) <= set(other)
    if each >= len(one):
        assert set(order[::2]) == set(one)


def test_a_class_that_is_missing_is_said() -> None:
    with pytest.raises(ValueError, match="0 slices pass the gate"):
        alternating([], [1], 3)


def test_every_peer_has_its_script() -> None:
    benchmarks = Path(__file__).resolve().parents[3] / "benchmarks"
    for peer in PEERS:
        assert (benchmarks / (peer.module.replace(".", "/") + ".py")).is_file()
    assert len({peer.name for peer in PEERS}) == len(PEERS)


def test_an_absent_backend_is_no_case() -> None:
    assert [case.name for case in products("b", "f", ["openvino"])] == [
        "scanside-fp32-cpu",
        "scanside-int8-cpu",
    ]


def test_links_keep_patients_apart(tmp_path: Path) -> None:
    for patient in ("one", "two"):
        (tmp_path / patient).mkdir()
        (tmp_path / patient / "1.png").write_text(patient)
    files = [str(path) for path in sorted(tmp_path.glob("*/1.png"))]
    folder = link_slices(files, tmp_path / "links")
    assert sorted(path.read_text() for path in folder.rglob("*.png")) == ["one", "two"]


def test_results_are_read_by_round(tmp_path: Path) -> None:
    results = Results(tmp_path / "cases.jsonl")
    results.add(0, "a", stream={"seconds": 2.0}, latency={"ms": [1.0, 3.0, 2.0]})
    results.add(1, "a", stream={"seconds": 4.0}, latency={"ms": [5.0]})
    results.add(1, "b")
    assert results.spread("a", "stream", "seconds") == (3.0, 2.0, 4.0)
    assert results.medians("a", "latency", "ms") == [2.0, 5.0]
    assert results.tail("a", "latency", "ms") == 5.0 / 2.0
    assert not results.has("b", "stream", "seconds")
    assert len((tmp_path / "cases.jsonl").read_text().splitlines()) == 3
