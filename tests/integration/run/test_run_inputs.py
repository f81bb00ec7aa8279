"""`scanside run` on every kind of bad or unusual input: rejected by name, the rest is done."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

import toy
from slicefiles import save

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from command import Done

    Command = Callable[..., Done]


def bad_inputs() -> dict[str, tuple[Callable[[Path], object], str]]:
    good = cv2.imencode(".png", toy.lesion_slice(2))[1].tobytes()
    tiff = cv2.imencode(".tif", toy.lesion_slice(2))[1].tobytes()
    nan = toy.lesion_slice(2).astype(np.float32)
    nan[5, 5] = np.nan
    return {
        "empty": (lambda p: p.write_bytes(b""), "empty"),
        "text": (lambda p: p.write_text("not a picture at all\n" * 9), "text"),
        "one pixel": (lambda p: save(p, np.zeros((1, 1, 3), np.uint8)), "1 x 1 pixels"),
        "very wide": (lambda p: save(p, np.zeros((40, 20_000, 3), np.uint8)), "20000"),
        "truncated png": (lambda p: p.write_bytes(good[:-30]), "accepted"),
        "truncated tiff": (lambda p: p.write_bytes(tiff[: len(tiff) // 2]), "accepted"),
        "grey": (lambda p: save(p, toy.lesion_slice(2)[..., 0]), "--fill-missing"),
        "deep": (lambda p: save(p, toy.lesion_slice(2).astype(np.uint16) * 99), "--window LO,HI"),
        "nan": (
            lambda p: p.write_bytes(cv2.imencode(".tif", nan)[1].tobytes()),
            "NaN or infinite|--window",
        ),
    }


@pytest.mark.parametrize("kind", bad_inputs())
def test_a_bad_file_is_rejected_and_the_rest_is_done(
    scanside: Command, toy_path: Path, tmp_path: Path, kind: str
) -> None:
    make, reason = bad_inputs()[kind]
    make(tmp_path / "2.png")
    save(tmp_path / "1.png", toy.lesion_slice(2))
    save(tmp_path / "3.png", toy.lesion_slice(4))
    done = scanside("run", tmp_path, "--bundle", toy_path)
    assert done.code == 3
    assert [r["status"] for r in done.slices] == ["ok", "rejected", "ok"]
    rejected = done.slices[1]
    assert rejected["tumor"] is None
    assert re.search(reason, rejected["reason"]), rejected["reason"]
    assert done.records[-1]["rejected"] == 1


def test_nan_in_a_float_slice_is_rejected_though_it_has_a_window(
    scanside: Command, toy_path: Path, tmp_path: Path
) -> None:
    nan = toy.lesion_slice(2).astype(np.float32)
    nan[5, 5] = np.nan
    assert cv2.imwrite(str(tmp_path / "a.tif"), nan)
    done = scanside("run", tmp_path / "a.tif", "--bundle", toy_path, "--window", "0,255")
    assert done.code == 3
    assert "NaN" in done.slices[0]["reason"]


def test_a_name_does_not_matter(scanside: Command, toy_path: Path, tmp_path: Path) -> None:
    real = save(tmp_path / "a.png", toy.lesion_slice(2))
    done = scanside("run", real.rename(tmp_path / "a.jpg"), "--bundle", toy_path)
    assert (done.code, done.slices[0]["tumor"]) == (0, True)


def test_a_grey_slice_with_the_option(scanside: Command, toy_path: Path, tmp_path: Path) -> None:
    save(tmp_path / "a.png", toy.lesion_slice(2)[..., 1])
    done = scanside("run", tmp_path / "a.png", "--bundle", toy_path, "--fill-missing")
    assert done.code == 0
    assert done.slices[0]["filled"] == ["pre-contrast", "post-contrast"]


def test_a_grey_slice_saved_as_rgb_is_said(
    scanside: Command, toy_path: Path, tmp_path: Path
) -> None:
    save(tmp_path / "a.png", toy.lesion_slice(2)[..., [1, 1, 1]])
    done = scanside("run", tmp_path / "a.png", "--bundle", toy_path)
    assert done.code == 0
    assert done.slices[0]["filled"] == ["pre-contrast", "post-contrast"]
    shown = scanside("run", tmp_path / "a.png", "--bundle", toy_path, "--format", "text")
    assert "FLAIR stands in for pre-contrast, post-contrast" in shown.out


def test_a_deep_slice_with_its_window(scanside: Command, toy_path: Path, tmp_path: Path) -> None:
    image = toy.lesion_slice(2)
    save(tmp_path / "deep" / "a.png", image.astype(np.uint16) * 100 + 7)
    save(tmp_path / "eight" / "a.png", image)
    deep = scanside(
        "run", tmp_path / "deep", "--bundle", toy_path, "--window", f"7,{255 * 100 + 7}"
    )
    eight = scanside("run", tmp_path / "eight", "--bundle", toy_path)
    assert deep.slices[0]["area_px"] == eight.slices[0]["area_px"] > 0


@pytest.mark.parametrize("window", ["5", "9,1", "a,b", "1,2,3", "0,inf"])
def test_a_window_that_is_none_is_a_usage_error(
    scanside: Command, toy_path: Path, folder: Path, window: str
) -> None:
    done = scanside("run", folder, "--bundle", toy_path, "--window", window)
    assert done.code == 2
    assert "LO" in done.err


def test_a_missing_input_is_named(scanside: Command, toy_path: Path, tmp_path: Path) -> None:
    done = scanside("run", tmp_path / "nothing", "--bundle", toy_path)
    assert done.code == 3
    assert "nothing" in done.err + done.out


def test_an_unreadable_folder_is_rejected_and_the_rest_is_done(
    scanside: Command, toy_path: Path, folder: Path, request: pytest.FixtureRequest
) -> None:
    for path in (folder, *folder.parents[:3], toy_path, *toy_path.parents[:3]):
        path.chmod(path.stat().st_mode | 0o055)
    (folder / "a").chmod(0)
    request.getfixturevalue("as_nobody")
    done = scanside("run", folder, "--bundle", toy_path)
    if os.geteuid() == 65534:
        os.seteuid(0)
    (folder / "a").chmod(0o755)
    assert done.code == 3
    assert "Permission denied" in done.out + done.err
    assert [r["status"] for r in done.slices].count("ok") == 3
