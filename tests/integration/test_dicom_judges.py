"""Results before judges that nobody here wrote: dciodvfy, dcmqi, DCMTK and Orthanc."""

from __future__ import annotations

import json
import urllib.request
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pytest.importorskip("highdicom", reason="needs the dicom extra")
pytest.importorskip("nibabel", reason="needs the nifti extra")

import nibabel
from pydicom import config

import judges
import mrstudy
from scanside.writers.dicom.context import Algorithm, Context
from scanside.writers.dicom.results import encode_results, encode_unanalysed

if TYPE_CHECKING:
    from pathlib import Path

    from scanside.study.model import Findings, Study
    from scanside.writers.dicom.context import EncodedObject

CONTEXT = Context(Algorithm("lgg", "1", "ab" * 32, "0.1.0", "cpu", "int8", ("window=0,255",)))

OUTCOMES: dict[str, dict[str, Any]] = {
    "region": {},
    "no region": {"found": False},
    "indeterminate": {"status": "indeterminate", "found": False},
    "indeterminate with a region": {"status": "indeterminate"},
    "incomplete": {"status": "incomplete", "analysed": 2},
    "not analysed": {"status": "incomplete", "analysed": 0, "found": False},
}

INPUTS: dict[str, dict[str, Any]] = {
    "classic": {},
    "enhanced": {"enhanced": True},
    "oblique": {"placed": mrstudy.affine(oblique=31.4)},
    "sagittal": {"placed": mrstudy.SAGITTAL},
    "filled": {"filled": ("pre-contrast", "post-contrast")},
    "no frame of reference": {"frame_of_reference": None},
    "nothing optional": {"attributes": {}},
    "Japanese": {
        "attributes": {
            **mrstudy.PATIENT,
            "PatientName": "Yamada^Tarou=山田^太郎=やまだ^たろう",
            "StudyDescription": "頭部 MRI",
        }
    },
    "Korean": {"attributes": {**mrstudy.PATIENT, "PatientName": "Hong^Gildong=洪^吉洞=홍^길동"}},
    "broken attributes": {
        "attributes": {
            "PatientName": "A" * 70,
            "PatientID": "tab\there",
            "PatientAge": "42",
            "PatientSex": "?",
            "PatientBirthDate": "01.01.1970",
            "StudyDate": "today",
            "StudyTime": "25:00",
            "AccessionNumber": "1" * 30,
            "StudyID": "S" * 20,
            "StudyDescription": "x" * 90,
            "ReferringPhysicianName": "a=b=c=d",
            "TimezoneOffsetFromUTC": "CET",
        }
    },
}


def study(kind: str) -> Study:
    """A study of one of the kinds."""
    with config.disable_value_validation():
        return mrstudy.study(**INPUTS[kind])


def written(folder: Path, findings: Findings, **options: Any) -> list[tuple[EncodedObject, Path]]:
    """The objects of a result, and files of them."""
    found = []
    for made in encode_results(findings, CONTEXT, **options).objects:
        (folder / made.file_name).write_bytes(made.content)
        found.append((made, folder / made.file_name))
    return found


@pytest.mark.parametrize(("kind", "outcome"), list(product(INPUTS, OUTCOMES)))
def test_dciodvfy_finds_no_error(kind: str, outcome: str, tmp_path: Path) -> None:
    findings = mrstudy.findings(study(kind), **OUTCOMES[outcome])
    files = written(tmp_path, findings, overlays=True)
    for _, file in files[:4]:  # report, segmentation, and the first captures
        assert judges.dciodvfy_errors(file) == []


@pytest.mark.parametrize("kind", ["classic", "enhanced", "broken attributes"])
def test_dciodvfy_finds_no_error_in_a_report_of_what_was_not_analysed(
    kind: str, tmp_path: Path
) -> None:
    encoded = encode_unanalysed(study(kind).flair.datasets, "no FLAIR series", CONTEXT)
    replaced = CONTEXT._replace(predecessors=(encoded.objects[0].reference,), uid_root="1.2.3")
    later = encode_results(mrstudy.findings(study(kind)), replaced)
    for made in (*encoded.objects, *later.objects):
        file = tmp_path / made.file_name
        file.write_bytes(made.content)
        assert judges.dciodvfy_errors(file) == []


@pytest.mark.parametrize("kind", ["classic", "enhanced", "oblique", "sagittal"])
def test_dcmqi_reads_the_mask_on_the_source_grid(kind: str, tmp_path: Path) -> None:
    reader = judges.dcmqi("segimage2itkimage")
    made = study(kind)
    findings = mrstudy.findings(made)
    (file,) = [path for each, path in written(tmp_path, findings) if each.kind == "seg"]
    judges.run(reader, "--inputDICOM", file, "--outputDirectory", tmp_path, "-t", "nifti")
    read = nibabel.load(tmp_path / "1.nii.gz")
    to_lps = np.diag([-1.0, -1.0, 1.0, 1.0])
    expected = made.on_source(findings.masks).transpose(2, 1, 0)
    assert np.allclose(to_lps @ read.affine, made.flair.grid.affine, atol=1e-4)
    assert np.array_equal(np.asarray(read.dataobj), expected)
    (segment,) = json.loads((tmp_path / "meta.json").read_text())["segmentAttributes"][0]
    assert segment["SegmentLabel"] == "FLAIR abnormality"


def test_dcmqi_reads_the_measurements(tmp_path: Path) -> None:
    reader = judges.dcmqi("tid1500reader")
    findings = mrstudy.findings(study("classic"))
    (file,) = [path for each, path in written(tmp_path, findings) if each.kind == "sr"]
    judges.run(reader, "--inputDICOM", file, "--outputMetadata", tmp_path / "read.json")
    (group,) = json.loads((tmp_path / "read.json").read_text())["Measurements"]
    found = {item["quantity"]["CodeMeaning"]: item["value"] for item in group["measurementItems"]}
    assert float(found["Volume"]) == pytest.approx(findings.measures.volume_ml, abs=1e-3)
    assert float(found["Diameter"]) == pytest.approx(findings.measures.diameter_mm, abs=1e-2)
    assert group["ReferencedSegment"] == 1


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_dcmtk_reads_every_object(outcome: str, tmp_path: Path) -> None:
    dump = judges.program("dcmdump", "dcmtk")
    tree = judges.program("dsrdump", "dcmtk")
    findings = mrstudy.findings(study("Japanese"), **OUTCOMES[outcome])
    for made, file in written(tmp_path, findings, overlays=True)[:4]:
        said = judges.run(dump, "+U8", file)
        assert "山田^太郎" in said
        assert "W:" not in said
        if made.kind == "sr":
            # dsrdump checks the relationships that the SOP class allows.
            assert "Qualitative Evaluations" in judges.run(tree, "+U8", file)


@pytest.mark.slow
def test_orthanc_takes_the_objects_and_gives_them_back_unchanged(tmp_path: Path) -> None:
    send = judges.program("storescu", "dcmtk")
    objects = [
        pair
        for kind in ("classic", "enhanced", "Japanese")
        for pair in written(tmp_path, mrstudy.findings(study(kind)), overlays=True)
    ]
    with judges.orthanc(tmp_path) as (dicom, http):
        # -R: propose only what the files need.
        judges.run(send, "-R", "-aec", "ORTHANC", "127.0.0.1", str(dicom),
                   *(path for _, path in objects))  # fmt: skip
        at = f"http://127.0.0.1:{http}"
        stored = json.loads(_get(f"{at}/instances"))
        assert len(stored) == len({made.sop_instance_uid for made, _ in objects})
        for made, _ in objects:
            body = json.dumps(made.sop_instance_uid).encode()[1:-1]
            (found,) = json.loads(_get(f"{at}/tools/lookup", body))
            assert data_set(_get(f"{at}/instances/{found['ID']}/file")) == data_set(made.content)


def _get(url: str, body: bytes | None = None) -> bytes:
    with urllib.request.urlopen(url, body, timeout=20) as answer:  # noqa: S310 - localhost
        content: bytes = answer.read()
        return content


def data_set(content: bytes) -> bytes:
    """A file after its meta information, which names whoever wrote the file."""
    assert content[128:132] == b"DICM"
    length = int.from_bytes(content[140:144], "little")
    return content[144 + length :]
