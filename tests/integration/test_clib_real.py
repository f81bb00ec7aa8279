"""The C library's examples with scanside itself behind them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
import pytest

import clibrary
import toy

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from command import Done

    Command = Callable[..., Done]

LINE = re.compile(
    r"(?P<slice>.+\.ppm): status (?P<status>\d), tumor (?P<tumor>\d),"
    r" probability (?P<probability>\S+), (?P<area>\d+) px"
)


class Found(NamedTuple):
    """What the example printed of a slice, and the mask it wrote."""

    tumor: bool | None
    probability: float
    area: int
    mask: np.ndarray


def through_c(server: Path, slices: list[Path], *arguments: object) -> list[Found]:
    """Run the example on slices, which it wants as PPM."""
    copies = [slice_.with_suffix(".ppm") for slice_ in slices]
    for slice_, copy in zip(slices, copies, strict=True):
        assert cv2.imwrite(str(copy), cv2.imread(str(slice_)))
    done = clibrary.run(clibrary.build("infer", "asan"), server, *copies, "--", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [LINE.fullmatch(line) for line in done.stdout.splitlines()]
    assert [line and line["slice"] for line in lines] == list(map(str, copies))
    found = []
    for line in lines:
        assert line is not None
        mask = cv2.imread(line["slice"] + ".mask.pgm", cv2.IMREAD_UNCHANGED)
        tumor = {"0": False, "1": True, "2": None}[line["tumor"]]
        found.append(Found(tumor, float(line["probability"]), int(line["area"]), mask > 0))
    return found


def same_as_run(scanside: Command, server: Path, slices: list[Path], output: Path, *options: object
                ) -> list[Found]:  # fmt: skip
    """The slices through the C library and through `scanside run`: one and the same."""
    found = through_c(server, slices, *options)
    done = scanside("run", *slices, "--output", output, *options)
    assert done.code == 0
    for mine, record in zip(found, done.slices, strict=True):
        assert mine.tumor is record["tumor"]
        assert np.float32(mine.probability) == np.float32(record["tumor_probability"])
        assert mine.area == (record["area_px"] or 0)
        if record["mask"] is None:
            assert not mine.mask.any()
        else:
            mask = cv2.imread(str(output / record["mask"]), cv2.IMREAD_UNCHANGED)
            np.testing.assert_array_equal(mine.mask, mask > 0)
    return found


def test_results_and_masks_are_those_of_run(
    scanside: Command, toy_path: Path, tmp_path: Path
) -> None:
    slices = []
    for n in range(6):
        image = toy.lesion_slice(n, lesion=n % 2 == 0, side=256 if n < 4 else 300)
        image = image[:, : image.shape[1] - 7 * n]
        slices.append(tmp_path / f"s{n}.png")
        assert cv2.imwrite(str(slices[-1]), image[..., ::-1])
    found = same_as_run(
        scanside, clibrary.real_server(tmp_path), slices, tmp_path / "out",
        "--bundle", toy_path, "--backend", "cpu",
    )  # fmt: skip
    assert [one.tumor for one in found] == [True, False] * 3


@pytest.mark.slow
def test_real_slices_and_the_bundle_that_ships(
    scanside: Command, data_root: Path, tmp_path: Path
) -> None:
    patient = sorted(path for path in (data_root / "lgg").iterdir() if path.is_dir())[0]
    files = sorted(path for path in patient.iterdir() if "_mask" not in path.name)[5:17]
    slices = [tmp_path / f"{path.stem}.png" for path in files]
    for path, slice_ in zip(files, slices, strict=True):
        assert cv2.imwrite(str(slice_), cv2.imread(str(path)))
    found = same_as_run(
        scanside, clibrary.real_server(tmp_path), slices, tmp_path / "out", "--backend", "cpu"
    )
    assert any(one.tumor for one in found)


def test_a_slice_that_is_not_accepted_says_why(toy_path: Path, tmp_path: Path) -> None:
    small = tmp_path / "small.ppm"
    assert cv2.imwrite(str(small), np.zeros((8, 8, 3), np.uint8))
    server = clibrary.real_server(tmp_path)
    words = (server, small, "--", "--bundle", toy_path, "--backend", "cpu")
    done = clibrary.run(clibrary.build("infer", "asan"), *words)
    assert done.returncode == 1
    assert "8 x 8 pixels; accepted: slices of 32 to 4096" in done.stdout


def test_a_bundle_that_is_not_accepted_says_why(tmp_path: Path) -> None:
    server = clibrary.real_server(tmp_path)
    words = (server, "--", "--bundle", tmp_path / "none")
    done = clibrary.run(clibrary.build("infer", "asan"), *words)
    assert done.returncode == 1
    assert str(tmp_path / "none") in done.stderr


def test_scanside_goes_with_its_host(toy_path: Path, tmp_path: Path) -> None:
    server = clibrary.real_server(tmp_path)
    clibrary.kill_the_host(server, "--bundle", toy_path, "--backend", "null")


def test_the_example_in_cpp(toy_path: Path, tmp_path: Path) -> None:
    server = clibrary.real_server(tmp_path)
    words = (server, "--bundle", toy_path, "--backend", "cpu")
    done = clibrary.run(clibrary.build("infer_cpp", "asan"), *words)
    assert done.returncode == 0, done.stderr
    assert "toy 1: status 0, tumor 0" in done.stdout
    done = clibrary.run(clibrary.build("infer_cpp", "asan"), "scanside")
    assert done.returncode == 1
    assert "SCANSIDE_ERROR_ARGUMENT: options.executable is scanside" in done.stderr
