"""The conformance statement names exactly the attributes that objects are written with."""

from __future__ import annotations

import re
from io import BytesIO
from pathlib import Path

import pytest

pytest.importorskip("highdicom", reason="needs the dicom extra")

from pydicom import dcmread
from pydicom.datadict import keyword_for_tag

import mrstudy
from scanside.study.identity import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from scanside.writers.dicom import codes
from scanside.writers.dicom.context import Algorithm, Context
from scanside.writers.dicom.results import encode_results

STATEMENT = (Path(__file__).parents[2] / "docs" / "conformance.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| (\w+) \| \(([0-9A-F]{4}),([0-9A-F]{4})\) \| ([AVEC]) \|", re.MULTILINE)
SECTIONS = {"sr": "8.1.1", "seg": "8.1.2", "capture": "8.1.3"}
CONTEXT = Context(Algorithm("lgg", "1", "ab" * 32, "0.1.0", "cpu", "int8"))


def stated(section: str) -> dict[str, str]:
    """Keywords of a section's table, with their presence."""
    found = re.search(rf"^#+ {re.escape(section)} .*?(?=^#)", STATEMENT, re.DOTALL | re.MULTILINE)
    assert found is not None
    rows = {}
    for keyword, group, element, presence in ROW.findall(found[0]):
        assert keyword_for_tag(int(group + element, 16)) == keyword
        rows[keyword] = presence
    return rows


def written(attributes: dict[str, object], *, status: str, placed: object) -> dict[str, set[str]]:
    """Keywords of the first object of each kind."""
    study = mrstudy.study(attributes=attributes, placed=placed)  # type: ignore[arg-type]
    findings = mrstudy.findings(study, status=status)  # type: ignore[arg-type]
    first = encode_results(findings, CONTEXT).objects[0].reference
    context = CONTEXT._replace(predecessors=(first,) if status == "incomplete" else ())
    made: dict[str, set[str]] = {}
    for each in encode_results(findings, context, overlays=True).objects:
        read = dcmread(BytesIO(each.content))
        made.setdefault(each.kind, {element.keyword for element in read})
    return made


FULL = {
    **mrstudy.PATIENT,
    "PatientSize": "1.7",
    "IssuerOfPatientID": "H",
    "TimezoneOffsetFromUTC": "+0100",
}


@pytest.mark.parametrize("kind", SECTIONS)
def test_every_attribute_is_stated_and_no_other(kind: str) -> None:
    table = stated("8.1") | stated(SECTIONS[kind])
    most = written(FULL, status="incomplete", placed=None)[kind]
    least = written({}, status="ok", placed=mrstudy.SAGITTAL)[kind]
    assert most == set(table)
    assert least == {keyword for keyword, presence in table.items() if presence in "AE"}


def test_identity_and_private_codes_are_stated() -> None:
    assert f"`{IMPLEMENTATION_CLASS_UID}`" in STATEMENT
    assert f"`{IMPLEMENTATION_VERSION_NAME}`" in STATEMENT
    for code in (*codes.CENTROID, codes.SLICES_WITH_REGION, codes.IN_ONE_SLICE):
        assert f"`{code.value}`" in STATEMENT
