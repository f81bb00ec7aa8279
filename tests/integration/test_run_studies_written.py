"""`scanside run` on studies, to the files that it writes."""

from __future__ import annotations

import json
import stat
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pytest.importorskip("highdicom", reason="needs the dicom extra")
pytest.importorskip("nibabel", reason="needs the nifti extra")

import nibabel
from pydicom import config, dcmread

import judges
import labelled

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from command import Done

    Scanside = Callable[..., Done]

SLICES = 6


@pytest.fixture(scope="module")
def slices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Toy slices of two patients."""
    return labelled.write(tmp_path_factory.mktemp("toys"), patients=2, slices=SLICES).folder


@pytest.fixture
def study(slices: Path, tmp_path: Path, scanside: Scanside) -> Path:
    """A study of classic files; tests may change it."""
    return to_dicom(scanside, slices, tmp_path / "study")


def to_dicom(scanside: Scanside, slices: Path, folder: Path, *options: str) -> Path:
    """A patient's slices as a DICOM study."""
    done = scanside("data", "to-dicom", slices, "--patient", "TOY_0", "--output", folder, *options)
    assert done.code == 0, done.err
    return folder


def change(study: Path, **attributes: Any) -> None:
    """Give every file of a study other attributes, valid or not."""
    for file in study.rglob("*.dcm"):
        with config.disable_value_validation(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = dcmread(file)
            for keyword, value in attributes.items():
                setattr(dataset, keyword, value)
            dataset.save_as(file)


def written(folder: Path) -> dict[str, bytes]:
    """Every DICOM and NIfTI file of an output folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for kind in ("dicom", "nifti")
        for path in sorted((folder / kind).rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("kind", ["classic", "enhanced"])
def test_a_study_gives_a_report_and_a_segmentation(
    kind: str, slices: Path, tmp_path: Path, scanside: Scanside, toy_path: Path
) -> None:
    study = to_dicom(scanside, slices, tmp_path / "study", "--kind", kind)
    out = tmp_path / "out"
    done = scanside("run", study, "--output", out, "--bundle", toy_path, "--backend", "cpu")
    assert done.code == 0, done.err
    (record,) = [each for each in done.records if each["type"] == "study"]
    assert sorted(record["written"]) == sorted(written(out))
    assert record["dropped"] == []
    assert record["centroid_mm"] is not None
    for name in record["written"]:
        assert judges.dciodvfy_errors(out / name) == []
    (file,) = out.glob("dicom/study_1/seg_*.dcm")
    areas = [int(frame.sum()) for frame in dcmread(file).pixel_array]
    assert sorted(areas) == sorted(each["area_px"] or 0 for each in done.slices)
    assert sum(areas) == record["area_px"] > 0


def test_the_same_study_gives_the_same_bytes(
    study: Path, tmp_path: Path, scanside: Scanside, toy_path: Path
) -> None:
    words = ("--bundle", toy_path, "--backend", "cpu", "--write", "overlays,nifti")
    for name in ("one", "two"):
        assert scanside("run", study, "--output", tmp_path / name, *words).code == 0
    one, two = written(tmp_path / "one"), written(tmp_path / "two")
    assert len(one) == 2 + SLICES + 1
    assert one == two


def test_root_and_date_are_the_callers(
    study: Path, tmp_path: Path, scanside: Scanside, toy_path: Path
) -> None:
    out = tmp_path / "out"
    done = scanside("run", study, "--output", out, "--bundle", toy_path, "--backend", "cpu",
                    "--uid-root", "1.2.3.4", "--created", "2026-05-04T13:30:00")  # fmt: skip
    assert done.code == 0, done.err
    for file in out.glob("dicom/*/*.dcm"):
        made = dcmread(file)
        assert made.SOPInstanceUID.startswith("1.2.3.4.")
        assert (made.ContentDate, made.ContentTime) == ("20260504", "133000")


def test_nothing_outside_the_dicom_files_tells_of_the_patient(
    study: Path, tmp_path: Path, scanside: Scanside, toy_path: Path
) -> None:
    """Names that libraries complain of, in every attribute that identifies somebody."""
    change(study, PatientName="CANARY-NAME", PatientID="CANARY-ID", AccessionNumber="CANARY-AN",
           PatientBirthDate="19010203", ReferringPhysicianName="CANARY^REFERRER=a=b=c",
           PatientAge="CANARY", StudyDescription="CANARY study", StudyID="CANARY-SID",
           PatientComments="CANARY comments", InstitutionName="CANARY hospital")  # fmt: skip
    out = tmp_path / "out"
    done = scanside("run", study, "--output", out, "--bundle", toy_path, "--backend", "cpu",
                    "--write", "overlays,nifti", "--page")  # fmt: skip
    assert done.code == 0, done.err
    told = [("stdout", done.out), ("stderr", done.err)]
    for file in out.rglob("*"):
        assert "CANARY" not in file.name
        if file.is_file() and file.suffix != ".dcm":
            told.append((file.name, file.read_bytes().decode("latin-1")))
    for place, text in told:
        assert "CANARY" not in text, place
        assert "19010203" not in text, place
    (record,) = [each for each in done.records if each["type"] == "study"]
    assert record["dropped"] == ["PatientAge", "ReferringPhysicianName"]
    assert "left out: PatientAge, ReferringPhysicianName" in done.err
    report = dcmread(next(out.glob("dicom/*/sr_*.dcm")))
    assert report.PatientID == "CANARY-ID"
    assert b"CANARY hospital" not in (out / record["written"][0]).read_bytes()


def test_text_of_the_input_becomes_utf_8(
    study: Path, tmp_path: Path, scanside: Scanside, toy_path: Path
) -> None:
    name = "Yamada^Tarou=山田^太郎=やまだ^たろう"
    change(study, SpecificCharacterSet=["", "ISO 2022 IR 87"], PatientName=name)
    out = tmp_path / "out"
    done = scanside("run", study, "--output", out, "--bundle", toy_path, "--backend", "cpu")
    assert done.code == 0, done.err
    for file in out.glob("dicom/*/*.dcm"):
        assert name.encode() in file.read_bytes()
        assert dcmread(file).SpecificCharacterSet == "ISO_IR 192"


def test_only_the_owner_can_read(
    study: Path, tmp_path: Path, scanside: Scanside, toy_path: Path
) -> None:
    out = tmp_path / "out"
    scanside("run", study, "--output", out, "--bundle", toy_path, "--backend", "cpu", "--page")
    files = [file for file in out.rglob("*") if file.is_file()]
    assert len(files) > 4
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_results_among_the_input_are_left_out(
    study: Path, scanside: Scanside, toy_path: Path
) -> None:
    words = ("--bundle", toy_path, "--backend", "cpu")
    first = scanside("run", study, "--output", study / "results", *words)
    again = scanside("run", study, *words)
    assert (first.code, again.code) == (0, 0)
    assert len(again.slices) == len(first.slices) == SLICES


def nifti(study: Path, folder: Path, scanside: Scanside, toy_path: Path) -> dict[str, Path]:
    """A DICOM study's three series as NIfTI files of another order of axes."""
    del scanside, toy_path
    folder.mkdir()
    found = {}
    for series in sorted(path for path in study.rglob("*") if any(path.glob("*.dcm"))):
        datasets = [dcmread(file) for file in series.glob("*.dcm")]
        datasets.sort(key=lambda each: float(each.ImagePositionPatient[2]))
        volume = np.stack([each.pixel_array for each in datasets]).astype(np.int16)
        affine = np.diag([-0.9, -0.9, 5.0, 1.0])
        # Sagittal storage: slices first, then rows and columns.
        image = nibabel.Nifti1Image(volume.transpose(2, 1, 0), affine)
        image = image.as_reoriented(np.array([[2, 1], [0, -1], [1, 1]]))
        kind = next(key for key in ("PRE", "FLAIR", "POST") if key in described(datasets[0]))
        found[kind.lower()] = folder / f"{kind.lower()}.nii.gz"
        nibabel.save(image, found[kind.lower()])
    return found


def described(dataset: Any) -> str:
    """What tells the synthetic series apart."""
    text = str(dataset.SeriesDescription).upper()
    if "FLAIR" in text:
        return "FLAIR"
    return "POST" if dataset.get("ContrastBolusAgent") else "PRE"


def test_nifti_gives_a_mask_on_its_own_grid(
    study: Path, tmp_path: Path, scanside: Scanside, toy_path: Path
) -> None:
    files = nifti(study, tmp_path / "nifti", scanside, toy_path)
    named = [word for kind, file in files.items() for word in (f"--{kind}", file)]
    words = ("--bundle", toy_path, "--backend", "cpu")
    out = tmp_path / "out"
    done = scanside("run", *named, "--output", out, *words)
    assert done.code == 0, done.err
    (record,) = [each for each in done.records if each["type"] == "study"]
    assert record["written"] == ["nifti/study_1_mask.nii.gz"]
    mask = nibabel.load(out / record["written"][0])
    source = nibabel.load(files["flair"])
    assert mask.shape == source.shape
    assert np.allclose(mask.affine, source.affine, atol=1e-5)
    assert int(np.asarray(mask.dataobj).sum()) == record["area_px"] > 0
    refused = scanside("run", *named, "--output", tmp_path / "no", "--write", "dicom", *words)
    assert refused.code == 2
    assert "dicom of a study of nifti files" in refused.err


def test_a_bad_variant_is_of_classic_files(
    slices: Path, tmp_path: Path, scanside: Scanside
) -> None:
    words = ("--kind", "enhanced", "--variant", "missing-position")
    done = scanside("data", "to-dicom", slices, "--output", tmp_path / "study", *words)
    assert done.code == 2
    assert "--variant missing-position with --kind enhanced" in done.err
    assert not (tmp_path / "study").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--write", "dicom"), "--write needs --output"),
        (("--output", "{}", "--write", "jpeg"), "accepted: dicom, overlays, nifti"),
        (("--output", "{}", "--uid-root", "mine"), "the UID root 'mine'"),
        (("--output", "{}", "--created", "yesterday"), "accepted: now, or local time"),
        (("--output", "{}", "--created", "2026-05-04T13:30:00+01:00"), "accepted: now, or local"),
    ],
)
def test_options_that_make_no_sense_are_usage_errors(
    words: tuple[str, ...], said: str, study: Path, tmp_path: Path, scanside: Scanside
) -> None:
    done = scanside("run", study, *(word.format(tmp_path / "out") for word in words))
    assert done.code == 2
    assert said in done.err


def test_an_invalid_age_of_a_real_series_is_in_no_result(
    data_root: Path, tmp_path: Path, scanside: Scanside, toy_path: Path
) -> None:
    out = tmp_path / "out"
    done = scanside("run", "--flair", data_root / "readers" / "dicom_t1", "--fill-missing",
                    "--output", out, "--bundle", toy_path, "--backend", "cpu",
                    "--write", "overlays")  # fmt: skip
    assert done.code == 0, done.err
    (record,) = [each for each in done.records if each["type"] == "study"]
    assert "PatientAge" in record["dropped"]
    assert record["filled"] == ["pre-contrast", "post-contrast"]
    for name in record["written"][:4]:
        assert judges.dciodvfy_errors(out / name) == []
        made = dcmread(out / name)
        assert "PatientAge" not in made
    report = json.dumps(dcmread(out / record["written"][0]).to_json_dict())
    assert "FLAIR stands in for the pre-contrast sequence." in report
