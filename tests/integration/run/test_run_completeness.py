"""`scanside run`: nothing lost, nothing doubled, whoever breaks off."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

import toy
from command import SCRIPT, interrupted
from slicefiles import save

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from command import Done

    Command = Callable[..., Done]


def test_every_region_has_pictures_of_its_own(
    scanside: Command, toy_path: Path, tmp_path: Path
) -> None:
    """Names that look alike once suffix and page are taken off."""
    lesion = toy.lesion_slice(2)
    folder = tmp_path / "in"
    folder.mkdir()
    assert cv2.imwritemulti(str(folder / "s.tif"), [lesion[..., ::-1]] * 2)
    for name in ("s_p001.png", "s.png", "s.png.png"):
        save(folder / name, lesion)
    save(folder / ("x" * 250 + ".png"), lesion)
    out = tmp_path / "out"
    done = scanside("run", folder, "--bundle", toy_path, "--output", out)
    assert done.code == 0, done.err
    assert len(done.slices) == 6
    for kind in ("mask", "overlay"):
        names = {record[kind] for record in done.slices}
        assert len(names) == 6
        assert all((out / name).is_file() for name in names)


def test_pictures_stay_in_the_output_folder(
    scanside: Command, toy_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, other = tmp_path / "here", save(tmp_path / "other" / "x.png", toy.lesion_slice(2))
    save(here / "local.png", toy.lesion_slice(2))
    monkeypatch.chdir(here)
    out = tmp_path / "out"
    done = scanside(
        "run", "local.png", "../other/x.png", other.with_name("x.png"), "--bundle", toy_path,
        "--output", out,
    )  # fmt: skip
    assert done.code == 0, done.err
    assert sorted(p.name for p in (out / "masks").rglob("*.png")) == [
        "local_mask.png",
        "x_mask.png",
    ]
    assert list((tmp_path / "other").iterdir()) == [other]


def test_a_run_does_not_take_its_own_pictures_for_slices(
    scanside: Command, toy_path: Path, folder: Path
) -> None:
    first = scanside("run", folder, "--bundle", toy_path, "--output", folder / "out")
    again = scanside("run", folder, "--bundle", toy_path)
    assert len(again.slices) == len(first.slices)


def test_a_device_that_fails_takes_no_finished_slice_with_it(
    scanside: Command, toy_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from scanside.backends.onnxruntime import OnnxRuntimeBackend
    from scanside.errors import BackendError

    for n in range(12):
        save(tmp_path / "in" / f"{n}.png", toy.lesion_slice(2))
    classify = OnnxRuntimeBackend.classify
    calls = iter(range(100))

    def failing(self: OnnxRuntimeBackend, images: np.ndarray) -> np.ndarray:
        if next(calls) == 9:
            raise BackendError("the device is gone")
        return classify(self, images)

    monkeypatch.setattr(OnnxRuntimeBackend, "classify", failing)
    out = tmp_path / "out"
    done = scanside(
        "run", tmp_path / "in", "--bundle", toy_path, "--backend", "cpu", "--output", out
    )
    assert done.code == 8
    assert "the device is gone" in done.err
    assert 9 <= len(done.slices) < 12  # other lanes may have been at later slices
    assert {s["mask"] for s in done.slices} == {
        f"masks/{f.name}" for f in (out / "masks").iterdir()
    }


def test_a_damaged_page_takes_no_other_page_with_it(
    scanside: Command, toy_path: Path, tmp_path: Path
) -> None:
    pages = [toy.lesion_slice(n)[..., ::-1] for n in range(4)]
    done, encoded = cv2.imencodemulti(".tif", pages, (cv2.IMWRITE_TIFF_COMPRESSION, 8))
    assert done
    content = bytearray(encoded.tobytes())
    (start,) = (m.start() for m in list(re.finditer(b"\x78[\x01\x5e\x9c\xda]", content))[1:2])
    content[start + 400 : start + 440] = b"\0" * 40
    (tmp_path / "stack.tif").write_bytes(content)
    found = scanside("run", tmp_path / "stack.tif", "--bundle", toy_path)
    assert found.code == 3
    statuses = [record["status"] for record in found.slices]
    assert [record["index"] for record in found.slices] == [0, 1, 2, 3]
    assert statuses.count("rejected") == 1
    assert found.records[-2]["source"].endswith("stack.tif")


def test_overwrite_removes_nothing_before_there_is_something_new(
    scanside: Command, toy_path: Path, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    first = scanside("run", folder, "--bundle", toy_path, "--output", out)
    again = scanside(
        "run", tmp_path / "nothing", "--bundle", toy_path, "--output", out, "--overwrite"
    )
    assert again.code == 3
    assert (out / "results.jsonl").read_text() == first.out


def test_one_missing_file_beside_others_is_rejected(
    scanside: Command, toy_path: Path, folder: Path
) -> None:
    done = scanside("run", folder / "a", folder / "gone.png", "--bundle", toy_path)
    assert done.code == 3
    assert [r["status"] for r in done.slices].count("ok") == 3
    assert "gone.png" in next(r["source"] for r in done.slices if r["status"] == "rejected")


def test_the_table_names_what_was_rejected_however_many_slices_there_are(
    scanside: Command, toy_path: Path, tmp_path: Path
) -> None:
    for n in range(70):
        save(tmp_path / f"{n}.png", np.zeros((64, 64, 3), np.uint8))
    (tmp_path / "broken.png").write_bytes(b"")
    done = scanside("run", tmp_path, "--bundle", toy_path, "--format", "text")
    assert "broken.png" in done.out
    assert "69.png" not in done.out


@pytest.mark.parametrize("closed", ["1>&-", "2>&-"])
def test_a_closed_stream_is_no_defect(toy_path: Path, folder: Path, closed: str) -> None:
    command = f"exec {sys.executable} -m scanside run {folder} --bundle {toy_path} {closed}"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == (9 if closed == "2>&-" else 0)


def test_a_reader_that_leaves_is_9(toy_path: Path) -> None:
    command = f"{sys.executable} -m scanside info {toy_path} | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.stdout.strip() in {"0", "9"}  # 0 where the pipe took all before it was closed


def test_sigterm_ends_a_run_as_ctrl_c_does(toy_path: Path, tmp_path: Path) -> None:
    image = save(tmp_path / "in" / "0.png", toy.lesion_slice(2))
    for n in range(1, 3000):
        os.link(image, tmp_path / "in" / f"{n}.png")
    records = interrupted(signal.SIGTERM, tmp_path / "in", "--bundle", toy_path)
    assert records[-1]["interrupted"] is True
    assert len(records) < 3000


def test_one_image_comes_on_standard_input(toy_path: Path, tmp_path: Path) -> None:
    content = save(tmp_path / "one.png", toy.lesion_slice(0)).read_bytes()
    command = [*SCRIPT, "run", "-", "--bundle", str(toy_path),
               "--backend", "cpu", "--output", str(tmp_path / "out")]  # fmt: skip
    done = subprocess.run(command, input=content, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    first = json.loads(done.stdout.splitlines()[0])
    assert (first["source"], first["tumor"]) == ("/dev/stdin", True)
    assert (tmp_path / "out" / first["mask"]).is_file()
    broken = subprocess.run([*command, "--overwrite"], input=content[:-9], capture_output=True,
                            check=False)  # fmt: skip
    assert broken.returncode == 3
    both = subprocess.run([*command[:5], "x.png"], input=content, capture_output=True, check=False)
    assert both.returncode == 2
    assert b"one image on standard input" in both.stderr


def test_memory_that_ran_out_is_nobody_s_fault(
    scanside: Command, toy_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def greedy(*_: object, **__: object) -> None:
        raise MemoryError("Unable to allocate 8.00 GiB")

    monkeypatch.setattr("scanside.runner.prepare", greedy)
    done = scanside("run", folder, "--bundle", toy_path)
    assert done.code == 70
    assert "there is not enough memory" in done.err
    assert "rejected" not in done.out
    assert "defect" not in done.err
