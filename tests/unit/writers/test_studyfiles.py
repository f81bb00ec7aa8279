"""What a run writes of a study: where, for whom to read, and under which names."""

from __future__ import annotations

import dataclasses
import stat
import sys
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("highdicom", reason="needs the dicom extra")
pytest.importorskip("nibabel", reason="needs the nifti extra")

import mrstudy
from scanside.errors import ExtraNotInstalledError, UsageError
from scanside.writers.dicom.context import Algorithm, Context
from scanside.writers.files import OutputFolder
from scanside.writers.studyfiles import Form, check_forms, default_forms, require, write_study

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CONTEXT = Context(Algorithm("lgg", "1", "ab" * 32, "0.1.0", "cpu", "int8"))


@pytest.fixture
def output(tmp_path: Path) -> Iterator[OutputFolder]:
    """An output folder."""
    folder = OutputFolder(tmp_path / "out")
    yield folder
    folder.close()


@pytest.mark.parametrize(
    ("forms", "kinds"),
    [
        (("dicom",), {"sr": 1, "seg": 1}),
        (("overlays",), {"sr": 1, "seg": 1, "capture": 5}),
        (("nifti",), {"study": 1}),
        (("dicom", "nifti"), {"sr": 1, "seg": 1, "study": 1}),
    ],
)
def test_each_form_is_written(
    forms: tuple[Form, ...], kinds: dict[str, int], output: OutputFolder
) -> None:
    findings = mrstudy.findings(mrstudy.study())
    written = write_study(findings, CONTEXT, output, "study_1", forms)
    files = [output.path / name for name in written.names]
    found = [file.name.split("_")[0] for file in files]
    assert {kind: found.count(kind) for kind in found} == kinds
    assert sorted(files) == sorted(f for f in output.path.rglob("*") if f.is_file())


def test_only_the_owner_can_read_and_no_name_tells_of_the_patient(output: OutputFolder) -> None:
    attributes = {**mrstudy.PATIENT, "PatientName": "CANARY^JANE", "PatientID": "CANARY"}
    findings = mrstudy.findings(mrstudy.study(attributes=attributes))
    write_study(findings, CONTEXT, output, "study_1", ("overlays", "nifti"))
    with output.open_results() as lines:
        lines.write(b"{}\n")
    for file in output.path.rglob("*"):
        assert "CANARY" not in str(file)
        if file.is_file():
            assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_without_a_region_there_is_a_report_and_no_segmentation(output: OutputFolder) -> None:
    findings = mrstudy.findings(mrstudy.study(), found=False)
    (name,) = write_study(findings, CONTEXT, output, "study_1", ("dicom",)).names
    assert name.startswith("dicom/study_1/sr_")


def test_nifti_input_has_no_patient_to_make_dicom_of(output: OutputFolder) -> None:
    study = dataclasses.replace(mrstudy.study(), kind="nifti")
    with pytest.raises(UsageError, match="dicom of a study of nifti files"):
        write_study(mrstudy.findings(study), CONTEXT, output, "study_1", ("dicom",))
    assert default_forms("nifti") == ("nifti",)
    check_forms(default_forms("nifti"), "nifti")


@pytest.mark.parametrize(("form", "package"), [("dicom", "highdicom"), ("nifti", "nibabel")])
def test_a_missing_extra_is_named(
    form: Form, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, "scanside.writers.nifti", raising=False)
    with pytest.raises(ExtraNotInstalledError, match=rf"{package}.*scanside\[{form}\]"):
        require((form,))
