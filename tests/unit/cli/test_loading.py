"""Garbage collection while a run loads."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest

from scanside.cli.loading import uncollected
from scanside.cli.results import ResultOptions, expected_forms
from scanside.readers.blobs import StudyFile


def test_garbage_is_collected_again_afterwards() -> None:
    with uncollected():
        assert not gc.isenabled()
    assert gc.isenabled()
    gc.unfreeze()


def test_garbage_is_collected_again_after_an_error() -> None:
    with pytest.raises(ZeroDivisionError), uncollected():
        1 / 0  # noqa: B018
    assert gc.isenabled()


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        ([], set()),
        (["zip"], set()),  # what is in it is not known yet
        (["zip", "DICOM"], {"dicom"}),
        (["NIfTI"], {"nifti"}),
    ],
)
def test_what_will_be_written_is_expected_from_the_files(
    kinds: list[str], expected: set[str]
) -> None:
    files = [StudyFile(Path("one"), kind) for kind in kinds]
    assert expected_forms(ResultOptions(), files) == expected
    assert expected_forms(ResultOptions(forms=("overlays",)), files) == {"overlays"}
