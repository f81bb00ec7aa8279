"""`scanside run` as its users call it, on good input."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

import toy
from slicefiles import save

if TYPE_CHECKING:
    from collections.abc import Callable

    from command import Done

    Command = Callable[..., Done]


def test_records_pictures_and_counts(
    scanside: Command, toy_path: Path, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done = scanside("run", folder, "--bundle", toy_path, "--output", out, "--page")
    assert done.code == 0
    assert [Path(r["source"]).relative_to(folder).as_posix() for r in done.slices] == [
        "a/s_1.png", "a/s_2.png", "a/s_3.png", "b/s_1.png", "b/s_2.png", "b/s_3.png",
    ]  # fmt: skip
    assert [r["tumor"] for r in done.slices] == [False, True, False] * 2
    study = [r for r in done.records if r["type"] == "study"]
    assert [(s["slices"], s["positive"]) for s in study] == [(3, 1), (3, 1)]
    summary = done.records[-1]
    assert (summary["slices"], summary["positive"], summary["segmented"]) == (6, 2, 2)
    assert summary["skip_rate"] == pytest.approx(4 / 6)
    assert sum(summary["left_out"].values()) == 1
    assert (out / "results.jsonl").read_text() == done.out

    found = done.slices[1]
    mask = cv2.imread(str(out / found["mask"]), cv2.IMREAD_UNCHANGED)
    assert set(np.unique(mask)) == {0, 255}
    assert int((mask > 0).sum()) == found["area_px"]
    rows = np.flatnonzero(mask.any(axis=1))
    assert (found["box"]["top"], found["box"]["bottom"]) == (rows[0], rows[-1] + 1)
    assert cv2.imread(str(out / found["overlay"])).shape == (512, 512, 3)
    page = (out / "index.html").read_text()
    assert found["overlay"] in page
    assert "not a medical device" in page


def test_the_same_input_gives_the_same_records(
    scanside: Command, toy_path: Path, folder: Path
) -> None:
    def stable(done: Done) -> list[dict[str, object]]:
        timed = ("timings_ms", "seconds", "slices_per_second")
        return [{k: v for k, v in r.items() if k not in timed} for r in done.records]

    first, second = (scanside("run", folder, "--bundle", toy_path) for _ in range(2))
    assert stable(first) == stable(second)


def test_formats(scanside: Command, toy_path: Path, folder: Path) -> None:
    table = scanside("run", folder, "--bundle", toy_path, "--format", "text")
    assert "b/s_2.png" in table.out
    assert "6 slices: 2 with a region, 4 without" in table.out
    rows = scanside("run", folder, "--bundle", toy_path, "--format", "csv").out
    assert [r["tumor"] for r in csv.DictReader(io.StringIO(rows))] == ["false", "true", "false"] * 2


def test_spacing_gives_millimetres_and_millilitres(
    scanside: Command, toy_path: Path, folder: Path
) -> None:
    done = scanside("run", folder / "a", "--bundle", toy_path, "--spacing", "0.5,0.5,6")
    found, study = done.slices[1], done.records[-2]
    assert found["area_mm2"] == pytest.approx(found["area_px"] * 0.25)
    assert study["volume_ml"] == pytest.approx(found["area_px"] * 0.25 * 6 / 1000)
    assert study["diameter_mm"] == pytest.approx(22, abs=1.5)


def test_a_multi_page_tiff_is_a_slice_a_page(
    scanside: Command, toy_path: Path, tmp_path: Path
) -> None:
    pages = [toy.lesion_slice(n, lesion=n == 2)[..., ::-1] for n in range(4)]
    assert cv2.imwritemulti(str(tmp_path / "stack.tif"), pages)
    out = tmp_path / "out"
    done = scanside("run", tmp_path / "stack.tif", "--bundle", toy_path, "--output", out)
    assert done.code == 0
    assert [(r["index"], r["tumor"]) for r in done.slices] == [
        (0, False), (1, False), (2, True), (3, False),
    ]  # fmt: skip
    assert (out / done.slices[2]["mask"]).exists()


def test_files_that_differ_by_suffix_get_pictures_of_their_own(
    scanside: Command, toy_path: Path, tmp_path: Path
) -> None:
    image = toy.lesion_slice(2)
    for name in ("s.png", "s.tif"):
        save(tmp_path / "in" / name, image)
    out = tmp_path / "out"
    done = scanside("run", tmp_path / "in", "--bundle", toy_path, "--output", out)
    names = {r["mask"] for r in done.slices}
    assert len(names) == 2
    assert all((out / name).exists() for name in names)
