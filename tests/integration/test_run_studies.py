"""`scanside run` on DICOM and NIfTI studies: found, chosen, explained, refused; the same masks."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest

pytest.importorskip("pydicom", reason="the extra dicom is not installed")

from pydicom import dcmread

import studies
from scanside_training.dicom.variants import BAD

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from command import Done

    Command = Callable[..., Done]

IMAGES = studies.slices(6, side=96)


@pytest.fixture
def run(scanside: Command, toy_path: Path) -> Command:
    """`scanside run` with the toy bundle on the CPU."""

    def call(*words: object) -> Done:
        return scanside("run", *words, "--bundle", toy_path, "--backend", "cpu")

    return call


def pngs(folder: Path) -> list[np.ndarray]:
    """The masks in a folder, in the order of their slices."""
    return [cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
            for path in sorted(folder.rglob("*_mask.png"))]  # fmt: skip


def as_images(folder: Path) -> Path:
    """The same slices as image files."""
    folder.mkdir()
    for number, image in enumerate(IMAGES):
        assert cv2.imwrite(str(folder / f"slice_{number}.png"), image[..., ::-1])
    return folder


def as_nifti(folder: Path, *, names: tuple[str, str, str]) -> Path:
    """The same slices as three NIfTI files."""
    nibabel = pytest.importorskip("nibabel", reason="the extra nifti is not installed")
    folder.mkdir(parents=True)
    affine = np.diag([-0.9, -0.9, 5.0, 1.0])
    for channel, name in enumerate(names):
        image = nibabel.Nifti1Image(IMAGES[..., channel].transpose(2, 1, 0), affine)
        image.to_filename(folder / name)
    return folder


@pytest.mark.parametrize("kind", ["classic", "enhanced"])
def test_a_study_gives_the_masks_of_its_slices(run: Command, tmp_path: Path, kind: Any) -> None:
    study = studies.write(tmp_path / "study", IMAGES, kind=kind)
    done = run(study, "--output", tmp_path / "out")
    alone = run(as_images(tmp_path / "images"), "--output", tmp_path / "alone")
    assert done.code == alone.code == 0
    for found, wanted in zip(done.slices, alone.slices, strict=True):
        assert found["tumor_probability"] == wanted["tumor_probability"]
        assert found["box"] == wanted["box"]
    masks = list(zip(pngs(tmp_path / "out"), pngs(tmp_path / "alone"), strict=True))
    assert len(masks) == 3
    assert all(np.array_equal(*pair) for pair in masks)
    assert [record["index"] for record in done.slices] == list(range(6))
    assert {record["source"] for record in done.slices} == {str(study)}
    (summary,) = [record for record in done.records if record["type"] == "study"]
    voxel = 0.9 * 0.9 * 5.0
    assert summary["volume_ml"] == pytest.approx(summary["area_px"] * voxel / 1000)
    assert done.slices[0]["area_mm2"] == pytest.approx(done.slices[0]["area_px"] * 0.81)


def test_names_of_files_mean_nothing(run: Command, tmp_path: Path) -> None:
    study = studies.write(tmp_path / "study", IMAGES)
    for number, path in enumerate(sorted(study.rglob("*.dcm"), key=lambda p: hash(p.name))):
        path.rename(path.with_name(f"IM{number}.png" if number % 2 else f"IM{number}"))
    done = run(study)
    assert done.code == 0
    assert len(done.slices) == 6


def test_archives_in_archives(run: Command, tmp_path: Path) -> None:
    study = studies.write(tmp_path / "study", IMAGES)
    inner = tmp_path / "inner.zip"
    with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in study.rglob("*.dcm"):
            archive.write(path, path.relative_to(study))
        archive.writestr("DICOMDIR.txt", "not a study")
    with zipfile.ZipFile(tmp_path / "outer.zip", "w") as archive:
        archive.write(inner, "cd/inner.zip")
    done = run(tmp_path / "outer.zip")
    assert done.code == 0
    assert len(done.slices) == 6
    assert done.records[-1]["left_out"] == {"text files in archives": 1}


def test_nifti_by_the_names_of_its_files(run: Command, tmp_path: Path) -> None:
    names = ("case_t1n.nii.gz", "case_t2f.nii.gz", "case_t1c.nii")
    study = as_nifti(tmp_path / "case", names=names)
    done = run(study, "--output", tmp_path / "out")
    run(as_images(tmp_path / "images"), "--output", tmp_path / "alone")
    assert done.code == 0
    assert len(done.slices) == 6
    found, wanted = pngs(tmp_path / "out"), pngs(tmp_path / "alone")
    assert len(found) == len(wanted) == 3
    assert all(map(np.array_equal, found, wanted))


def test_series_that_are_named_need_no_rule(run: Command, tmp_path: Path) -> None:
    study = as_nifti(tmp_path / "case", names=("a.nii", "b.nii", "c.nii"))
    assert run(study).code == 3
    series = ("--pre", study / "a.nii", "--flair", study / "b.nii", "--post", study / "c.nii")
    done = run(*series)
    assert done.code == 0
    assert len(done.slices) == 6
    filled = run(*series[2:], "--fill-missing")
    assert filled.code == 0
    assert {tuple(record["filled"]) for record in filled.slices} == {("pre-contrast",)}


def test_a_refused_study_takes_no_other_with_it(run: Command, tmp_path: Path) -> None:
    from dataclasses import replace

    from scanside_training.dicom.write import write_study

    studies.write(tmp_path / "bad", IMAGES, variant="varying-spacing")
    write_study([replace(plan, study="other") for plan in studies.plans(IMAGES)], tmp_path / "good")
    as_images(tmp_path / "images")
    done = run(tmp_path)
    assert done.code == 3
    rejected = [record for record in done.slices if record["status"] == "rejected"]
    assert [record["source"] for record in rejected] == [str(tmp_path / "bad")]
    assert rejected[0]["reason"].startswith("varying spacing: series 2 (FLAIR): ")
    assert len(done.slices) == 1 + 6 + 6


@pytest.mark.parametrize("name", BAD)
def test_a_bad_study_alone_exits_with_3(run: Command, tmp_path: Path, name: str) -> None:
    done = run(studies.write(tmp_path / "study", IMAGES, variant=name))
    assert done.code == 3
    assert BAD[name].reason in done.slices[0]["reason"].partition("; ")[0]


def test_a_study_with_a_cut_file_is_not_analysed_without_it(run: Command, tmp_path: Path) -> None:
    study = studies.write(tmp_path / "study", IMAGES)
    path = study / "series_2" / "0003.dcm"
    path.write_bytes(path.read_bytes()[:900])
    done = run(study)
    assert done.code == 3
    reasons = [record["reason"] for record in done.slices]
    assert any("breaks off" in reason for reason in reasons), reasons
    assert any(reason.startswith("missing positions: ") for reason in reasons)


def test_explain_says_what_becomes_of_every_series(scanside: Command, tmp_path: Path) -> None:
    studies.write(tmp_path, IMAGES, variant="localizer")
    done = scanside("run", tmp_path, "--explain")
    assert done.code == 3
    lines = done.out.splitlines()
    assert lines[0] == str(tmp_path)
    assert "T1 with contrast by its name  [T1 AX POST / T1 AX POST]" in done.out
    assert any(line.startswith("  series 2") and "localizer" in line for line in lines)
    assert lines[-1].startswith("  refused: localizer: series 2 (FLAIR)")


def test_the_site_s_rules_count(run: Command, tmp_path: Path) -> None:
    study = studies.write(tmp_path / "study", IMAGES)
    rules = tmp_path / "rules.toml"
    rules.write_text(
        'schema = "scanside.series-rules/1"\nbody_parts = ["HEAD"]\n'
        '[[take]]\nsequence = "FLAIR"\nname = "ours"\ndescription = "^flair"\n'
    )
    done = run(study, "--rules", rules)
    assert done.code == 3
    assert "no series is pre-contrast or post-contrast" in done.slices[0]["reason"]
    assert run(study, "--rules", rules, "--fill-missing").code == 0
    rules.write_text("schema = 1")
    assert run(study, "--rules", rules).code == 2


def test_options_that_make_no_sense(run: Command, tmp_path: Path) -> None:
    study = studies.write(tmp_path / "study", IMAGES)
    assert run().code == 2
    assert run("--pre", study / "series_1").code == 2
    assert run(study, "--window", "0,100").code == 2
    two = run("--flair", study)
    assert two.code == 2
    assert "holds 3 DICOM or NIfTI series" in two.err


def test_the_file_s_window_on_demand(run: Command, tmp_path: Path) -> None:
    study = studies.write(tmp_path / "study", IMAGES, scale="unwindowed")
    assert run(study).code == 0
    done = run(study, "--series-window", "file")
    assert done.code == 3
    assert "names no window" in done.slices[0]["reason"]


@pytest.mark.parametrize(("package", "extra"), [("pydicom", "dicom"), ("nibabel", "nifti")])
def test_an_absent_extra_is_named(
    run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str, extra: str
) -> None:
    if extra == "dicom":
        study = studies.write(tmp_path / "study", IMAGES)
    else:
        study = as_nifti(tmp_path / "study", names=("t1.nii", "flair.nii", "t1c.nii"))
    monkeypatch.setitem(sys.modules, package, None)
    done = run(study)
    assert done.code == 8
    assert f"pip install 'scanside[{extra}]'" in done.err


def test_a_folder_of_images_needs_no_extra(
    run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("pydicom", "nibabel", "highdicom"):
        monkeypatch.setitem(sys.modules, package, None)
    assert run(as_images(tmp_path / "images")).code == 0


def test_nothing_that_is_said_names_the_patient(toy_path: Path, tmp_path: Path) -> None:
    """Good, bad and damaged studies, in a process of its own: stdout, stderr, files, names."""
    import mutate

    for variant in ("plain", "different-patients", "no-position", "colour"):
        studies.write(tmp_path / "in" / variant, IMAGES[:4], variant=variant)
    base = (tmp_path / "in" / "plain" / "series_1" / "0001.dcm").read_bytes()
    assert studies.CANARY.encode() in base
    (tmp_path / "in" / "damaged").mkdir()
    for seed in range(60):
        path = tmp_path / "in" / "damaged" / f"{seed}.dcm"
        path.write_bytes(mutate.dicom(base, seed))
    out = tmp_path / "out"
    command = [
        sys.executable, "-X", "dev", "-W", "always", "-m", "scanside", "run", tmp_path / "in",
        "--bundle", toy_path, "--backend", "cpu", "--output", out, "--page",
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, capture_output=True, env=environment, check=False)
    explained = subprocess.run([*command[:9], "--explain"], capture_output=True, env=environment,
                               check=False)  # fmt: skip
    assert done.returncode == 3, done.stderr
    assert explained.returncode == 3
    said = done.stdout + done.stderr + explained.stdout + explained.stderr
    files = [path for path in out.rglob("*") if path.is_file()]
    # Objects in dicom/ are the patient's own.
    said += b"".join(path.read_bytes() for path in files if "dicom" not in path.parts)
    said += "".join(path.name for path in out.rglob("*")).encode()
    assert b"different patients" in said
    for canary in (studies.CANARY, studies.CANARY_ID, studies.CANARY_DATE, "Canary", "SYN-9999"):
        assert canary.encode() not in said


@pytest.mark.slow
@pytest.mark.parametrize("patient", ["TCGA_CS_5395_19981004", "TCGA_HT_7686_19950629"])
def test_real_patients_as_dicom_have_the_masks_of_their_slices(
    scanside: Command, data_root: Path, tmp_path: Path, patient: str
) -> None:
    if not (data_root / "lgg" / patient).is_dir():
        pytest.skip(f"no patient {patient} in the data")
    made = scanside("data", "to-dicom", data_root / "lgg", "--output", tmp_path / "dicom",
                    "--patient", patient)  # fmt: skip
    assert made.code == 0, made.err
    options = ("--backend", "cpu", "--output")
    study = scanside("run", tmp_path / "dicom", *options, tmp_path / "a")
    alone = scanside("run", data_root / "lgg" / patient, *options, tmp_path / "b")
    assert study.code == alone.code == 0
    assert [record["tumor_probability"] for record in study.slices] == [
        record["tumor_probability"] for record in alone.slices
    ]
    by_slice = {record["index"]: record["mask"] for record in study.slices if record["mask"]}
    other = {at: record["mask"] for at, record in enumerate(alone.slices) if record["mask"]}
    assert by_slice.keys() == other.keys()
    assert by_slice
    for at, name in by_slice.items():
        found = cv2.imread(str(tmp_path / "a" / name), cv2.IMREAD_UNCHANGED)
        wanted = cv2.imread(str(tmp_path / "b" / other[at]), cv2.IMREAD_UNCHANGED)
        assert np.array_equal(found, wanted)


def test_an_image_beside_a_study_is_a_study_of_its_own(run: Command, tmp_path: Path) -> None:
    folder = studies.write(tmp_path / "study", IMAGES)
    alone = [line for line in run(folder).records if line["type"] == "study"]
    assert cv2.imwrite(str(folder / "shot.png"), IMAGES[0][..., ::-1])
    both = [line for line in run(folder).records if line["type"] == "study"]
    assert [each["slices"] for each in both] == [1, len(IMAGES)]
    assert both[1:] == alone
    assert alone[0]["volume_ml"] > 0


@pytest.mark.parametrize("left", [-300, 0])
def test_a_series_that_lost_its_last_slice_is_not_a_whole_study(
    run: Command, tmp_path: Path, left: int
) -> None:
    """Of each series the topmost file is cut, or empty as on a disk that was full."""
    folder = studies.write(tmp_path / "study", IMAGES)
    for series in {path.parent for path in folder.rglob("*") if path.is_file()}:
        last = max(series.iterdir(), key=lambda path: float(dcmread(path).ImagePositionPatient[2]))
        last.write_bytes(last.read_bytes()[:left])
    done = run(folder, "--output", tmp_path / "out")
    assert done.code == 3
    assert [line["slices"] for line in done.records if line["type"] == "run"] == [4]
    assert all(line["status"] == "rejected" for line in done.slices)
    assert any("unreadable files" in line["reason"] for line in done.slices)
    assert not list((tmp_path / "out").rglob("*.dcm"))


def test_a_series_is_not_two_sequences(run: Command, tmp_path: Path) -> None:
    folder = studies.write(tmp_path / "study", IMAGES)
    one, other = sorted({path.parent for path in folder.rglob("*") if path.is_file()})[:2]
    done = run("--pre", one, "--flair", one, "--post", other)
    assert done.code == 2
    assert "the same series was named as" in done.err


def test_overwrite_does_not_remove_inputs(run: Command, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run(studies.write(tmp_path / "study", IMAGES), "--output", out).code == 0
    inputs = studies.write(out / "dicom" / "mine", IMAGES)
    before = sorted(path for path in inputs.rglob("*"))
    done = run(inputs, "--output", out, "--overwrite")
    assert done.code == 9
    assert "among what --overwrite removes" in done.err
    assert sorted(path for path in inputs.rglob("*")) == before


def test_inputs_of_which_nothing_is_left_are_refused(run: Command, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("notes.txt", "none")
    done = run(tmp_path / "a.zip")
    assert done.code == 3
    assert "there is no image and no study in the inputs (1 " in done.err
