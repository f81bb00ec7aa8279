"""A study through the models: slice by slice, as image files go, and put together again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scanside.errors import InputError
from scanside.lanes import Read, analyse
from scanside.pipeline import prepare
from scanside.runner import picture_names
from scanside.study.grid import pixel_aspect
from scanside.study.measure import measure
from scanside.study.model import Findings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from scanside.lanes import Analysed
    from scanside.pipeline import Pipeline
    from scanside.records import SliceResult
    from scanside.study.model import FindingsStatus, Study
    from scanside.writers.files import OutputFolder

__all__ = ["analyse_study"]


def analyse_study(
    study: Study,
    pipeline: Pipeline,
    *,
    read_ms: float = 0.0,
    pictures: str = "",
    output: OutputFolder | None = None,
    stop: Callable[[], bool] = lambda: False,
    seen: Callable[[Analysed], None] = lambda _: None,
) -> Findings:
    """Analyse every slice of a study.

    Parameters
    ----------
    study
        The study.
    pipeline
        The loaded pipeline.
    read_ms
        Milliseconds that reading the study took; every slice's record has its share as decode.
    pictures
        What names of pictures begin with, for instance ``study_1``.
    output
        Where pictures of slices with a region are written; none for no pictures.
    stop
        Asked before each slice; once it is true, what was begun is finished and no more is.
    seen
        Called with each slice, in order, once it and its pictures are done.

    Returns
    -------
    Findings
        With the masks on the study's grid.

    Raises
    ------
    BackendError, OutputError
        As for `scanside.lanes.analyse`; `seen` has had what was done until then.
    """
    masks = np.zeros(study.grid.shape, bool)
    records: list[SliceResult] = []
    slices = _slices(study, pictures if output is not None else "", read_ms)
    for analysed in analyse(slices, pipeline, output=output, stop=stop):
        region = None if analysed.result is None else analysed.result.region
        if region is not None:
            masks[len(records)] = region.mask
        records.append(analysed.record)
        seen(analysed)
    return Findings(
        study=study,
        records=tuple(records),
        masks=masks,
        status=_status(records, len(masks)),
        measures=measure(masks, study.grid),
    )


def _slices(study: Study, pictures: str, read_ms: float) -> Iterator[Read]:
    spacing = study.grid.spacing
    for index, pixels in enumerate(study.images):
        prepared, error = None, None
        try:
            prepared = prepare(pixels, aspect=pixel_aspect(spacing))._replace(filled=study.filled)
        except InputError as refused:
            error = refused
        yield Read(
            source=study.name,
            index=index,
            study=study.name,
            pixels=pixels,
            prepared=prepared,
            error=error,
            decode_ms=round(read_ms / len(study.images), 3),
            spacing=spacing,
            pictures=picture_names(f"{pictures}/slice_{index:03d}") if pictures else None,
        )


def _status(records: list[SliceResult], slices: int) -> FindingsStatus:
    if len(records) < slices or any(record.status == "rejected" for record in records):
        return "incomplete"
    if any(record.status == "indeterminate" for record in records):
        return "indeterminate"
    return "ok"
