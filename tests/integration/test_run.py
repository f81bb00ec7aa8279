"""`scanside run` as its users call it, on good input and on every kind of bad input."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

import toy

if TYPE_CHECKING:
    from collections.abc import Callable

    from command import Done

    Command = Callable[..., Done]


def save(path: Path, image: np.ndarray) -> Path:
    """Write channels in the file's order: red is pre-contrast."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image[..., ::-1] if image.ndim == 3 else image)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two studies of three slices each, a lesion in every second slice, one mask file."""
    for study in ("a", "b"):
        for n in range(1, 4):
            save(tmp_path / "in" / study / f"s_{n}.png", toy.lesion_slice(n, lesion=n == 2))
    save(tmp_path / "in" / "a" / "s_2_mask.png", np.zeros((256, 256), np.uint8))
    return tmp_path / "in"


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


# --- input that is not accepted ---------------------------------------------------------------


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


@pytest.fixture
def as_nobody() -> object:
    """Permissions do not hold for root: be somebody else for the test."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    yield
    os.seteuid(0)


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


# --- bundles and outputs ------------------------------------------------------------------------


def test_a_missing_bundle_is_4(scanside: Command, folder: Path, tmp_path: Path) -> None:
    done = scanside("run", folder, "--bundle", tmp_path / "none")
    assert done.code == 4
    assert "no bundle is there" in done.err


def test_a_bundle_that_is_not_the_pinned_one_is_4(
    scanside: Command, toy_path: Path, folder: Path
) -> None:
    done = scanside("run", folder, "--bundle", toy_path, "--bundle-sha256", "0" * 64)
    assert done.code == 4


def test_a_backend_that_is_not_here_is_8(scanside: Command, toy_path: Path, folder: Path) -> None:
    done = scanside("run", folder, "--bundle", toy_path, "--backend", "tensorrt")
    assert done.code == 8
    assert done.out == ""


def test_an_output_that_cannot_be_made_is_9(
    scanside: Command, toy_path: Path, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    done = scanside("run", folder, "--bundle", toy_path, "--output", tmp_path / "file" / "out")
    assert done.code == 9
    assert done.out == ""


def test_a_read_only_output_is_9_before_any_work(
    scanside: Command, toy_path: Path, folder: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    out = tmp_path / "out"
    out.mkdir(mode=0o555)
    for path in (folder, *folder.parents[:3], toy_path, *toy_path.parents[:3]):
        path.chmod(path.stat().st_mode | 0o055)
    request.getfixturevalue("as_nobody")
    done = scanside("run", folder, "--bundle", toy_path, "--output", out)
    assert done.code == 9
    assert done.out == ""
    assert "Permission denied" in done.err


def test_an_output_with_results_is_9_and_stays(
    scanside: Command, toy_path: Path, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    first = scanside("run", folder, "--bundle", toy_path, "--output", out)
    again = scanside("run", folder / "a", "--bundle", toy_path, "--output", out)
    assert (first.code, again.code) == (0, 9)
    assert (out / "results.jsonl").read_text() == first.out
    replaced = scanside("run", folder / "a", "--bundle", toy_path, "--output", out, "--overwrite")
    assert replaced.code == 0
    assert not (out / "masks" / "b").exists()


SCRIPT = [sys.executable, "-m", "scanside"]


def _buffered() -> dict[str, str]:
    """Return the environment with Python's own buffering of stdout, whoever runs the tests."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}


def test_a_full_stdout_is_9(toy_path: Path, folder: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*SCRIPT, "run", folder, "--bundle", toy_path], stdout=full, stderr=subprocess.PIPE,
            text=True, check=False, env=_buffered(),
        )  # fmt: skip
    assert done.returncode == 9
    assert "standard output: No space left on device" in done.stderr


def test_what_is_left_in_a_full_stdout_does_not_change_the_code() -> None:
    """Python itself ends with 120 where its last flush fails."""
    code = """
import sys
from scanside.cli import main
main._run = lambda: sys.stdout.write("a record") and 9
main.main()
"""
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-c", code], stdout=full, stderr=subprocess.PIPE, text=True,
            check=False, env=_buffered(),
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (9, "")


def test_a_full_output_folder_is_9_and_nothing_is_half_written(
    toy_path: Path, folder: Path, tmp_path: Path
) -> None:
    """No file may grow beyond 5 kB: records fit, pictures do not."""
    code = f"""
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
sys.argv = ["scanside", "run", {str(folder)!r}, "--bundle", {str(toy_path)!r},
            "--output", {str(tmp_path / "out")!r}]
from scanside.cli.main import main
main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 9, done.stderr
    assert "File too large" in done.stderr
    left = [p for p in (tmp_path / "out").rglob("*") if p.suffix in {".png", ".part"}]
    assert all(cv2.imread(str(p)) is not None for p in left)


def test_ctrl_c_keeps_what_was_done(toy_path: Path, tmp_path: Path) -> None:
    image = save(tmp_path / "in" / "0.png", toy.lesion_slice(2))
    for n in range(1, 3000):
        os.link(image, tmp_path / "in" / f"{n}.png")
    out = tmp_path / "out"
    running = subprocess.Popen(
        [*SCRIPT, "run", tmp_path / "in", "--bundle", toy_path, "--output", out],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    for _ in range(600):
        if (out / "masks").exists():
            break
        time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=60)
    assert running.returncode == 130, err
    records = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    assert records[-1]["type"] == "run"
    assert records[-1]["interrupted"] is True
    slices = [r for r in records if r["type"] == "slice"]
    assert 0 < len(slices) == records[-1]["slices"] < 3000
    assert all((out / r["mask"]).exists() for r in slices)


@pytest.mark.parametrize("words", [["run"], ["run", "x", "--page"], ["nonsense"], ["run", "--no"]])
def test_usage_errors_are_2(scanside: Command, words: list[str]) -> None:
    assert scanside(*words).code == 2


def test_strict_makes_an_indeterminate_slice_7(
    scanside: Command, toy_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from scanside.backends.onnxruntime import OnnxRuntimeBackend

    def empty(_: object, images: np.ndarray) -> np.ndarray:
        return np.zeros((len(images), 256, 256), np.float32)

    monkeypatch.setattr(OnnxRuntimeBackend, "segment", empty)
    on_cpu = ("--bundle", toy_path, "--backend", "cpu")
    relaxed = scanside("run", folder, *on_cpu)
    strict = scanside("run", folder, *on_cpu, "--strict")
    assert (relaxed.code, strict.code) == (0, 7)
    odd = [r for r in strict.slices if r["status"] == "indeterminate"]
    assert len(odd) == 2
    assert all(r["tumor"] is None and r["reason"] for r in odd)


def test_a_name_that_is_no_text_breaks_nothing(
    scanside: Command, toy_path: Path, tmp_path: Path
) -> None:
    image = save(tmp_path / "a.png", toy.lesion_slice(2))
    os.rename(os.fsencode(image), os.fsencode(tmp_path) + b"/\xff\xfe.png")  # noqa: PTH104
    done = scanside("run", tmp_path, "--bundle", toy_path, "--output", tmp_path / "out", "--page")
    assert done.code == 0, done.err
    assert done.slices[0]["source"].endswith("\\xff\\xfe.png")
    assert json.loads((tmp_path / "out" / "results.jsonl").read_text().splitlines()[0])["tumor"]


# --- nothing lost, nothing doubled --------------------------------------------------------------


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
    running = subprocess.Popen(
        [*SCRIPT, "run", tmp_path / "in", "--bundle", toy_path],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert running.stdout is not None
    first = running.stdout.readline()
    running.send_signal(signal.SIGTERM)
    rest, err = running.communicate(timeout=60)
    assert running.returncode == 130, err
    records = [json.loads(line) for line in [first, *rest.splitlines()]]
    assert records[-1]["interrupted"] is True
    assert len(records) < 3000


def test_one_image_comes_on_standard_input(toy_path: Path, tmp_path: Path) -> None:
    content = save(tmp_path / "one.png", toy.lesion_slice(0)).read_bytes()
    command = [sys.executable, "-m", "scanside", "run", "-", "--bundle", str(toy_path),
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
