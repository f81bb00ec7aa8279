"""Statistics of a labelled dataset, and their plots: what to know before training on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import numpy as np
from msgspec import Struct

from scanside.evaluation.dataset import load_image, load_mask
from scanside.preprocess import CHANNELS, SIDE, preprocess
from scanside_training.report_plots import COLORS, figure, png

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from scanside.evaluation.dataset import Dataset, DatasetSlice

__all__ = ["STATISTICS_SCHEMA", "Survey", "data_plots", "survey"]

STATISTICS_SCHEMA: Final = "scanside.statistics/1"

_BLANK: Final = 3
"""Grey level that 99 % of a nearly blank slice's pixels do not exceed, in any sequence."""

_PERCENTILES: Final = (0, 5, 25, 50, 75, 95, 100)
_FLAIR: Final = CHANNELS.index("FLAIR")


class PatientStatistics(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What stands out in a patient.

    Attributes
    ----------
    slices, positive, tumor_px
        Numbers.
    sizes
        Width x height of the slices, each once.
    flair_instead_of
        Sequences that equal FLAIR, pixel for pixel, in every slice: they were not acquired.
    nearly_blank
        Numbers of the slices that show hardly anything.
    """

    patient: str
    slices: int
    positive: int
    tumor_px: int
    sizes: tuple[str, ...]
    flair_instead_of: tuple[str, ...]
    nearly_blank: tuple[int, ...]


class Statistics(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``stats.json``.

    Attributes
    ----------
    dataset_sha256
        `Dataset.sha256`.
    slices, positive
        Numbers.
    tumor_share
        Share of all pixels that are tumour.
    tumor_px
        Percentiles of the tumour's area in positive slices, in pixels, by percentage.
    grey_levels
        Percentiles of the pixels that are not 0, by sequence and percentage.
    patients
        One each.
    """

    schema: Literal["scanside.statistics/1"] = STATISTICS_SCHEMA
    dataset_sha256: str
    slices: int
    positive: int
    tumor_share: float
    tumor_px: dict[str, float]
    grey_levels: dict[str, dict[str, float]]
    patients: tuple[PatientStatistics, ...]


class Survey(NamedTuple):
    """A dataset, looked at once.

    Attributes
    ----------
    statistics
        For the file.
    histograms
        int64, ``[3, 256]``: number of pixels by sequence and grey level.
    where
        float64, ``[256, 256]``: mean mask of the positive slices, on the model's grid.
    areas
        int64, ``[positive]``: tumour pixels of each positive slice.
    """

    statistics: Statistics
    histograms: NDArray[np.int64]
    where: NDArray[np.float64]
    areas: NDArray[np.int64]


class _Look(NamedTuple):
    """What is kept of one slice."""

    item: DatasetSlice
    size: str
    pixels: int
    like_flair: tuple[bool, ...]
    blank: bool


def survey(dataset: Dataset, progress: Callable[[int], None] = lambda _: None) -> Survey:
    """Look at every slice of a dataset once.

    Parameters
    ----------
    dataset
        The indexed dataset.
    progress
        Called with the number of slices done.
    """
    histograms = np.zeros((len(CHANNELS), 256), np.int64)
    where = np.zeros((SIDE, SIDE))
    looks: dict[str, list[_Look]] = {}
    for count, item in enumerate(dataset.slices, 1):
        image = load_image(item)
        histograms += [np.bincount(image[..., at].ravel(), minlength=256) for at in range(3)]
        looks.setdefault(item.patient, []).append(_look(item, image))
        if item.positive:
            # The mask takes the image's way to the model's grid.
            where += preprocess(np.repeat(255 * load_mask(item)[..., None], 3, axis=2))[0][..., 0]
        progress(count)
    areas = np.array([item.tumor_px for item in dataset.slices if item.positive], np.int64)
    statistics = Statistics(
        dataset_sha256=dataset.sha256,
        slices=len(dataset.slices),
        positive=areas.size,
        tumor_share=float(
            areas.sum() / sum(look.pixels for group in looks.values() for look in group)
        ),
        tumor_px=_percentiles(areas) if areas.size else {},
        grey_levels={
            name: _levels(histogram) for name, histogram in zip(CHANNELS, histograms, strict=True)
        },
        patients=tuple(_patient(name, group) for name, group in looks.items()),
    )
    return Survey(statistics, histograms, where / (255 * max(1, areas.size)), areas)


def data_plots(survey_of: Survey) -> dict[str, bytes]:
    """Draw the statistics.

    Returns
    -------
    dict of str to bytes
        PNG by file name.
    """
    return {
        "patients.png": _patients_plot(survey_of.statistics.patients),
        "tumor_size.png": _size_plot(survey_of.areas),
        "grey_levels.png": _levels_plot(survey_of.histograms),
        "where.png": _where_plot(survey_of.where),
    }


def _look(item: DatasetSlice, image: NDArray[np.uint8]) -> _Look:
    flair = image[..., _FLAIR]
    return _Look(
        item,
        f"{image.shape[1]}x{image.shape[0]}",
        flair.size,
        tuple(bool(np.array_equal(image[..., at], flair)) for at in range(len(CHANNELS))),
        bool(np.percentile(image.max(axis=2), 99) <= _BLANK),
    )


def _patient(name: str, looks: Sequence[_Look]) -> PatientStatistics:
    seen = [look for look in looks if not look.blank]
    return PatientStatistics(
        patient=name,
        slices=len(looks),
        positive=sum(look.item.positive for look in looks),
        tumor_px=sum(look.item.tumor_px for look in looks),
        sizes=tuple(sorted({look.size for look in looks})),
        flair_instead_of=tuple(
            sequence
            for at, sequence in enumerate(CHANNELS)
            if at != _FLAIR and seen and all(look.like_flair[at] for look in seen)
        ),
        nearly_blank=tuple(look.item.number for look in looks if look.blank),
    )


def _percentiles(values: NDArray[np.int64]) -> dict[str, float]:
    return {str(at): float(np.percentile(values, at)) for at in _PERCENTILES}


def _levels(histogram: NDArray[np.int64]) -> dict[str, float]:
    """Return percentiles of the grey levels above 0 from their histogram."""
    cumulated = np.cumsum(histogram[1:])
    if not cumulated[-1]:
        return {}
    # At least one pixel, so that percentile 0 is the lowest level there is.
    ranks = [max(1.0, at / 100 * cumulated[-1]) for at in _PERCENTILES]
    levels = 1 + np.searchsorted(cumulated, ranks, "left")
    return {str(at): float(level) for at, level in zip(_PERCENTILES, levels, strict=True)}


def _patients_plot(patients: Sequence[PatientStatistics]) -> bytes:
    drawn, axes = figure()
    axes.scatter(
        [each.slices for each in patients],
        [each.positive for each in patients],
        s=18,
        color=COLORS["blue"],
        alpha=0.6,
        linewidths=0,
    )
    axes.set(xlabel="slices of the patient", ylabel="of them positive")
    axes.set(xlim=(0, None), ylim=(0, None))
    return png(drawn)


def _size_plot(areas: NDArray[np.int64]) -> bytes:
    drawn, axes = figure()
    if areas.size:
        edges = np.geomspace(1, max(2, areas.max() + 1), 40)
        axes.hist(areas, bins=edges, color=COLORS["blue"])
        axes.set_xscale("log")
    axes.set(xlabel="pixels of tumour in the slice", ylabel="positive slices")
    return png(drawn)


def _levels_plot(histograms: NDArray[np.int64]) -> bytes:
    drawn, axes = figure()
    for name, color, histogram in zip(
        CHANNELS, ("green", "blue", "orange"), histograms, strict=True
    ):
        shares = histogram / max(1, histogram.sum())
        axes.plot(np.arange(1, 256), shares[1:], color=COLORS[color], label=name, linewidth=1)
    axes.set_yscale("log")
    axes.set(xlabel="grey level (0 is left out)", ylabel="share of the pixels", xlim=(0, 255))
    axes.legend(frameon=False, fontsize=8)
    return png(drawn)


def _where_plot(where: NDArray[np.float64]) -> bytes:
    drawn, axes = figure(4.8, 4.2)
    axes.grid(visible=False)
    shown: Any = axes.imshow(where, cmap="magma", vmin=0)
    drawn.colorbar(shown, ax=axes, label="share of positive slices with tumour here")
    axes.set(xticks=(), yticks=())
    return png(drawn)
