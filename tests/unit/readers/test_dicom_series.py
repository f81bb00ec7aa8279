"""Series of DICOM files: what only some slices say, or none could say, is refused by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom", reason="the extra dicom is not installed")

import studies  # noqa: E402
from scanside.errors import InputError  # noqa: E402
from scanside.readers.blobs import Blob  # noqa: E402
from scanside.readers.dicom.header import read_header  # noqa: E402
from scanside.readers.dicom.series import group_series  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pydicom import Dataset

    from scanside.study.volume import Volume


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Volume]:
    """Write a series of 8 slices, change each by a function of its place, and read it."""

    def make(change: Callable[[Dataset, int], Any]) -> Volume:
        studies.write(tmp_path, studies.slices(8))
        paths = sorted((tmp_path / "series_2").iterdir())
        for at, path in enumerate(paths):
            dataset = pydicom.dcmread(path)
            change(dataset, at)
            dataset.save_as(path)
        ((series,), _) = group_series([read_header(Blob(path.name, path)) for path in paths])
        return series.read(series.stack())

    return make


@pytest.mark.parametrize(("value", "limit", "padding"), [(0, None, (0, 0)), (2, 0, (0, 2))])
def test_padding_is_a_value_or_a_range(
    read: Callable[..., Volume], value: int, limit: int | None, padding: tuple[int, int]
) -> None:
    def change(dataset: Dataset, _: int) -> None:
        dataset.add_new("PixelPaddingValue", "US", value)
        if limit is not None:
            dataset.add_new("PixelPaddingRangeLimit", "US", limit)

    volume = read(change)
    assert volume.padding == padding
    stored: Any = volume.stored
    inside = (stored >= padding[0]) & (stored <= padding[1])
    assert np.array_equal(volume.padded(volume.stored), inside)


@pytest.mark.parametrize("keyword", ["PixelPaddingValue", "PixelPaddingRangeLimit"])
def test_padding_of_some_slices_or_without_its_value_is_refused(
    read: Callable[..., Volume], keyword: str
) -> None:
    def change(dataset: Dataset, at: int) -> None:
        if at == 3 or keyword == "PixelPaddingRangeLimit":
            dataset.add_new(keyword, "US", 0)

    with pytest.raises(InputError, match=r"pixel data: .*PixelPadding"):
        read(change)


@pytest.mark.parametrize("keyword", ["RescaleSlope", "RescaleIntercept"])
@pytest.mark.parametrize("value", [None, "", "n/a"])
def test_a_scale_that_a_slice_lacks_or_that_is_no_number_is_refused(
    read: Callable[..., Volume], keyword: str, value: str | None
) -> None:
    def change(dataset: Dataset, at: int) -> None:
        if at == 3:
            del dataset[keyword]
            if value is not None:
                # as text of another kind, since pydicom would not write such a number
                dataset.add_new(keyword, "LO", value)

    with pytest.raises(InputError, match=f"pixel data: .*{keyword}"):
        read(change)


def test_a_series_without_any_scale_has_stored_values(read: Callable[..., Volume]) -> None:
    def change(dataset: Dataset, _: int) -> None:
        del dataset.RescaleSlope, dataset.RescaleIntercept

    volume = read(change)
    assert (volume.slopes == 1).all()
    assert (volume.intercepts == 0).all()


def test_a_table_of_values_is_refused(read: Callable[..., Volume]) -> None:
    def change(dataset: Dataset, at: int) -> None:
        if at == 3:
            dataset.ModalityLUTSequence = [pydicom.Dataset()]

    with pytest.raises(InputError, match="pixel data: a ModalityLUTSequence"):
        read(change)
