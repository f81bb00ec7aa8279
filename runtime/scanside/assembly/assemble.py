"""The chosen series of a study, decoded and brought to one grid."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from scanside.assembly.choose import FLAIR_FIRST
from scanside.discretion import quiet
from scanside.errors import InputError
from scanside.preprocess import CHANNELS
from scanside.study.model import Note, Source, Study
from scanside.study.reasons import refused
from scanside.study.resample import resample, same_grid
from scanside.study.shift import MISREGISTERED_MM, estimate_shift
from scanside.study.volume import choose_window, eight_bits

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scanside.assembly.choose import Chosen, Placed
    from scanside.study.grid import Grid
    from scanside.study.volume import WindowRule

__all__ = ["assemble"]

_FLAIR: Final = CHANNELS.index("FLAIR")

_ENOUGH: Final = 0.5
"""Share of the FLAIR's voxels that a sequence must reach: less is another part of the body."""

_WHOLE: Final = 0.95
"""Below this share it is said."""


def assemble(chosen: Chosen, *, window: WindowRule = "auto") -> Study:
    """Decode the series of a study and bring them to the FLAIR's grid.

    Parameters
    ----------
    chosen
        The series; sequences other than FLAIR may be missing, and FLAIR then stands in for them.
    window
        The rule by which each series' window is chosen.

    Raises
    ------
    InputError
        `Chosen.error`, if there is one; if pixels are not accepted; if a sequence does not overlap
        FLAIR.
    """
    if chosen.error is not None:
        raise chosen.error
    with quiet():
        return _assembled(chosen, window)


def _assembled(chosen: Chosen, window: WindowRule) -> Study:
    flair = chosen.series["FLAIR"]
    images = np.empty((*flair.grid.shape, len(CHANNELS)), np.uint8)
    notes: list[Note] = []
    sources = []
    if not flair.axial:
        text = f"{flair.candidate.label} was not acquired axially; axial sections were made of it"
        notes.append(Note("reformatted", "FLAIR", text))
    for sequence in FLAIR_FIRST:
        channel = images[..., CHANNELS.index(sequence)]
        placed = chosen.series.get(sequence)
        if placed is None:
            channel[:] = images[..., _FLAIR]
            why = chosen.missing.get(sequence)
            text = "FLAIR stands in for it" + ("" if why is None else f" ({why.given})")
            notes.append(Note("filled", sequence, text))
            continue
        source, values = _read(placed, sequence, window)
        channel[:] = _on_grid(values, placed, flair.grid, sequence, notes)
        sources.append(source)
        if sequence == "FLAIR":
            continue
        if np.array_equal(channel, images[..., _FLAIR]):
            text = f"FLAIR stands in for it ({placed.candidate.label} equals it in every voxel)"
            notes.append(Note("filled", sequence, text))
        else:
            _check_shift(images, sequence, flair.grid, notes)
    return Study(
        name=chosen.name,
        kind=flair.candidate.kind,
        images=images,
        grid=flair.grid,
        view=flair.view,
        sources=tuple(sources),
        filled=tuple(name for name in CHANNELS if any(n[:2] == ("filled", name) for n in notes)),
        notes=tuple(notes),
    )


def _read(placed: Placed, sequence: str, rule: WindowRule) -> tuple[Source, NDArray[np.uint8]]:
    candidate, stack = placed.candidate, placed.stack
    try:
        volume = candidate.read(stack)
        window = choose_window(volume, rule)
    except InputError as error:
        raise InputError(
            f"{candidate.label} ({sequence}): {error.given}",
            accepted=error.accepted,
            remedy=error.remedy,
        ) from None
    source = Source(
        sequence=sequence,
        grid=stack.grid,
        window=window,
        pixel_sha256=volume.sha256,
        datasets=candidate.datasets(),
        frames=candidate.references(stack),
    )
    return source, eight_bits(volume, window)


def _on_grid(
    values: NDArray[np.uint8], placed: Placed, grid: Grid, sequence: str, notes: list[Note]
) -> NDArray[np.uint8]:
    """Bring a series to the study's grid, exactly where it has the same voxels."""
    viewed = placed.view.apply(values)
    if same_grid(placed.grid, grid):
        return viewed
    moved = resample(np.ascontiguousarray(viewed), placed.grid, grid)
    label = placed.candidate.label
    if moved.coverage < _ENOUGH:
        raise refused(
            "no overlap",
            f"{label} ({sequence}) reaches {moved.coverage:.0%} of FLAIR's field of view",
            accepted=f"{_ENOUGH:.0%} and more",
            remedy="give a series of the same part of the body",
        )
    notes.append(Note("resampled", sequence, f"{label} was interpolated to FLAIR's grid"))
    if moved.coverage < _WHOLE:
        text = f"{label} reaches {moved.coverage:.0%} of FLAIR's field of view; the rest is black"
        notes.append(Note("coverage", sequence, text))
    return moved.values


def _check_shift(images: NDArray[np.uint8], sequence: str, grid: Grid, notes: list[Note]) -> None:
    shift = estimate_shift(images[..., _FLAIR], images[..., CHANNELS.index(sequence)], grid)
    if shift.millimetres >= MISREGISTERED_MM:
        text = f"it seems to be shifted by {shift.millimetres:.0f} mm against FLAIR"
        notes.append(Note("misregistered", sequence, text))
