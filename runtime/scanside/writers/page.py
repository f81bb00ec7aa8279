"""One HTML page of a run: what was found, with the pictures, readable without a network."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import msgspec

from scanside.records import Record, RunResult, SliceResult, StudyResult
from scanside.writers.files import OutputFolder, output_errors

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scanside.bundle import Bundle

__all__ = ["STYLE", "write_page"]

STYLE: Final = """
body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:76rem;padding:0 1rem}
body{color:#1c2733}
h1{font-size:1.5rem;margin-bottom:.2rem}h2{font-size:1.1rem;margin-top:2rem}
p.note{color:#5a6875;max-width:60rem}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}
figure img{width:100%;background:#000;border-radius:4px}
"""
"""What the runtime's pages have in common."""

_STYLE: Final = (
    STYLE
    + """\
td,th{padding:.2rem .8rem .2rem 0;text-align:right;border-bottom:1px solid #e3e8ec}
td:first-child,th:first-child{text-align:left}
.tiles{display:grid;grid-template-columns:repeat(auto-fill,minmax(14rem,1fr));gap:1rem}
figure{margin:0}
figcaption{font-size:.8rem;color:#41505e;overflow-wrap:anywhere}
.odd{color:#a33}
"""
)


def write_page(output: OutputFolder, bundle: Bundle, note: str = "") -> None:
    """Write ``index.html`` from the records in the output folder.

    Parameters
    ----------
    output
        The folder of a finished run.
    bundle
        The bundle that was used: its licence is shown.
    note
        A sentence on the input, for instance that the slices are phantoms.

    Raises
    ------
    OutputError
        If the page can't be written.
    """
    slices: list[SliceResult] = []
    studies: list[StudyResult] = []
    summary: RunResult | None = None
    for record in _records(output):
        if isinstance(record, SliceResult):
            slices.append(record)
        elif isinstance(record, StudyResult):
            studies.append(record)
        else:
            summary = record
    content = "".join(_page(slices, studies, summary, bundle, note))
    output.write(output.page.name, content.encode("utf-8"))


def _records(output: OutputFolder) -> Iterator[Record]:
    decoder = msgspec.json.Decoder(Record)
    with output_errors(output.results), output.results.open("rb") as lines:
        for line in lines:
            yield decoder.decode(line)


def _page(
    slices: list[SliceResult],
    studies: list[StudyResult],
    summary: RunResult | None,
    bundle: Bundle,
    note: str,
) -> Iterator[str]:
    yield "<!doctype html><html lang=en><meta charset=utf-8><title>scanside</title>"
    yield f"<meta name=viewport content='width=device-width'><style>{_STYLE}</style>"
    yield "<h1>scanside: two-stage analysis</h1>"
    yield f"<p class=note>{escape(note)} Research use only: not a medical device. The outline"
    yield " shows FLAIR abnormality as the algorithm found it; no outline means that it found no"
    yield " region, not that there is no tumour.</p>"
    if summary is not None:
        yield _summary(summary)
    yield "<h2>Studies</h2>" + _studies(studies)
    found = [record for record in slices if record.overlay]
    yield f"<h2>Slices with a region ({len(found)})</h2><div class=tiles>"
    yield from (_tile(record) for record in found)
    yield "</div>"
    odd = [record for record in slices if record.status != "ok"]
    if odd:
        yield f"<h2>Indeterminate and rejected slices ({len(odd)})</h2><ul>"
        yield from (
            f"<li class=odd>{escape(_name(record))}: {record.status}:"
            f" {escape(record.reason or '')}</li>"
            for record in odd
        )
        yield "</ul>"
    licence = bundle.manifest.license
    yield f"<p class=note>Bundle {escape(bundle.label)}. {escape(licence.notice)}</p></html>\n"


def _summary(run: RunResult) -> str:
    skipped = "" if run.skip_rate is None else f"; the segmenter skipped {run.skip_rate:.0%}"
    speed = "" if run.slices_per_second is None else f", {run.slices_per_second:.1f} a second"
    stopped = "<b class=odd>Interrupted: not all slices were analysed.</b> " * run.interrupted
    return (
        f"<p>{stopped}<b>{run.slices:,} slices</b>{speed}: {run.positive:,} with a region,"
        f" {run.negative:,} without, {run.indeterminate:,} indeterminate,"
        f" {run.rejected:,} rejected{skipped}. {escape(run.precision)} on"
        f" {escape(run.backend)}.</p>"
    )


def _studies(studies: list[StudyResult]) -> str:
    rows = "".join(
        f"<tr><td>{escape(study.source)}<td>{study.slices}<td>{study.positive}"
        f"<td>{study.indeterminate}<td>{study.rejected}<td>{study.area_px:,}"
        f"<td>{'' if study.volume_ml is None else f'{study.volume_ml:.1f}'}"
        for study in studies
    )
    return (
        "<table><tr><th>study<th>slices<th>with a region<th>indeterminate<th>rejected"
        f"<th>area, px<th>volume, ml{rows}</table>"
    )


def _tile(record: SliceResult) -> str:
    address = quote(record.overlay or "")
    return (
        f"<figure><a href='{address}'><img loading=lazy src='{address}' alt=''></a>"
        f"<figcaption title='{escape(_name(record))}'>{escape(_short(record))}<br>"
        f"probability {record.tumor_probability:.3f}, {record.area_px:,} px</figcaption></figure>"
    )


def _short(record: SliceResult) -> str:
    return _name(record).rsplit("/", maxsplit=1)[-1]


def _name(record: SliceResult) -> str:
    return record.source + (f" #{record.index}" if record.index else "")
