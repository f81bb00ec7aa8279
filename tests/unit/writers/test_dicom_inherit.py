"""What results take over from their input: what is valid, in UTF-8; the rest is named."""

from __future__ import annotations

import warnings
from datetime import datetime
from io import BytesIO
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("pydicom", reason="needs the dicom extra")

from pydicom import config, dcmread
from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.valuerep import validate_value

from scanside.writers.dicom.inherit import inherit, latest_moment

if TYPE_CHECKING:
    from pathlib import Path

KEYWORDS = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "PatientAge", "PatientSize",
    "StudyDate", "StudyTime", "AccessionNumber", "StudyDescription", "TimezoneOffsetFromUTC",
)  # fmt: skip


def dataset(**attributes: Any) -> Dataset:
    """A dataset of a study, with values as they come from files: unchecked."""
    made = Dataset()
    made.StudyInstanceUID = "1.2.3"
    with config.disable_value_validation():
        for keyword, value in attributes.items():
            setattr(made, keyword, value)
    return made


def test_valid_values_are_taken_over() -> None:
    values = {
        "PatientName": "Doe^Jane", "PatientID": "7", "PatientBirthDate": "19700101",
        "PatientSex": "F", "PatientAge": "042Y", "PatientWeight": "71.5", "StudyDate": "20240229",
        "StudyTime": "101112.25", "AccessionNumber": "A1", "TimezoneOffsetFromUTC": "+0100",
    }  # fmt: skip
    found, dropped = inherit(dataset(**values))
    assert dropped == ()
    assert {keyword: str(found[keyword].value) for keyword in values} == values


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("PatientAge", "42"),
        ("PatientSex", "X"),
        ("PatientSex", "m"),
        ("PatientBirthDate", "1970-01-01"),
        ("PatientBirthDate", "20230229"),
        ("StudyDate", "20240101-20240201"),
        ("StudyTime", "10:11:12"),
        ("StudyTime", "240000"),
        ("AccessionNumber", "A" * 17),
        ("PatientID", "I" * 65),
        ("PatientID", "tab\tin it"),
        ("PatientName", "A" * 65),
        ("PatientName", "a=b=c=d"),
        ("PatientName", "a^b^c^d^e^f"),
        ("PatientWeight", "heavy"),
        ("PatientWeight", "0"),
        ("PatientWeight", "71500"),
        ("TimezoneOffsetFromUTC", "CET"),
    ],
)
def test_an_invalid_value_is_dropped_and_its_attribute_named(keyword: str, value: str) -> None:
    source = dataset()
    element: Any = value
    try:
        source = dataset(**{keyword: element})
    except ValueError:  # pydicom makes a number of it: as a file has it, then
        source.add_new(keyword, "LO", value)
    found, dropped = inherit(source)
    assert dropped == (keyword,)
    assert not found.get(keyword)


def test_several_values_where_one_is_allowed_are_dropped() -> None:
    source = dataset()
    source.PatientID = MultiValue(str, ["1", "2"])
    found, dropped = inherit(source)
    assert dropped == ("PatientID",)
    assert found.PatientID == ""


def test_what_is_absent_is_empty_where_it_must_be_there_and_not_named() -> None:
    found, dropped = inherit(dataset())
    assert dropped == ()
    assert found.PatientName == found.StudyDate == found.AccessionNumber == ""
    assert "PatientAge" not in found
    assert "StudyDescription" not in found


@given(st.sampled_from(KEYWORDS), st.text(max_size=80))
def test_whatever_is_taken_over_is_valid(keyword: str, value: str) -> None:
    source = dataset()
    source.add_new(keyword, "LO", value)
    found, dropped = inherit(source)
    taken = str(found.get(keyword, ""))
    assert (keyword in dropped) == (bool(value.strip()) and not taken)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        validate_value(dictionary_VR(keyword), taken, config.RAISE)
    assert not any(ord(character) < 32 for character in taken)


@pytest.mark.parametrize(
    ("character_set", "name"),
    [
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        (["ISO 2022 IR 13", "ISO 2022 IR 87"], "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう"),
        (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동"),
        ("ISO_IR 100", "Äneas^Rüdiger"),
        ("ISO_IR 144", "Люкceмбypг"),  # noqa: RUF001 - Cyrillic on purpose
        ("GB18030", "Wang^XiaoDong=王^小东"),
        ("ISO_IR 166", "ธนาพร^สุข"),
    ],
)
def test_text_of_any_character_set_becomes_utf_8(
    character_set: str | list[str], name: str, tmp_path: Path
) -> None:
    source = dataset(PatientName=name, SpecificCharacterSet=character_set, SOPInstanceUID="1.2")
    source.SOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
    file = tmp_path / "source.dcm"
    source.save_as(file, implicit_vr=False, little_endian=True)
    read = dcmread(file, force=True)
    read.decode()
    found, dropped = inherit(read)
    assert dropped == ()
    buffer = BytesIO()
    found.save_as(buffer, implicit_vr=False, little_endian=True)
    assert name.encode() in buffer.getvalue()
    assert str(dcmread(BytesIO(buffer.getvalue()), force=True).PatientName) == name


def test_the_latest_valid_moment_counts() -> None:
    early = dataset(ContentDate="20240101", ContentTime="235959.9", SeriesDate="20250101")
    broken = dataset(ContentDate="2024-05-05", StudyDate="20240102", StudyTime="noon")
    assert latest_moment([early, broken]) == datetime(2024, 1, 2)
    assert latest_moment([early]) == datetime(2024, 1, 1, 23, 59, 59)
    assert latest_moment([dataset(), dataset(ContentTime="101010")]) is None
