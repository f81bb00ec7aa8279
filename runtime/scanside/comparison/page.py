"""One HTML page of a comparison, with the pictures beside it, readable without a network."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from scanside.comparison.text import changes, figures, findings, name_of, thresholds
from scanside.writers.page import STYLE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from scanside.comparison.records import Change, ComparisonResult, Worst

__all__ = ["page_html"]

_STYLE: Final = (
    STYLE
    + """\
td,th{padding:.2rem .8rem .2rem 0;text-align:left;border-bottom:1px solid #e3e8ec}
td{overflow-wrap:anywhere}
figure{margin:0 0 1.5rem}
figcaption{font-size:.85rem;color:#41505e;overflow-wrap:anywhere}
.odd{color:#a33;font-weight:600}
"""
)


def page_html(result: ComparisonResult) -> bytes:
    """Return the page of a comparison; pictures are referred to by their relative paths.

    Parameters
    ----------
    result
        The comparison.
    """
    return "".join(_page(result)).encode("utf-8")


def _page(result: ComparisonResult) -> Iterator[str]:
    data = result.data
    yield "<!doctype html><html lang=en><meta charset=utf-8><title>scanside: comparison</title>"
    yield f"<meta name=viewport content='width=device-width'><style>{_STYLE}</style>"
    yield f"<h1>A: {escape(result.a.label)}<br>B: {escape(result.b.label)}</h1>"
    odd = " class=odd" if result.thresholds_differ else ""
    yield f"<p{odd}>{escape(thresholds(result))}.</p>"
    yield "<p class=note>Research use only: not a medical device. An outline shows FLAIR"
    yield " abnormality as the algorithm found it; no outline means that it found no region, not"
    yield " that there is no tumour.</p>"
    yield f"<p>{escape(data.folder)}: <b>{data.compared:,} slices compared</b>,"
    yield f" {data.rejected:,} rejected.</p>"
    yield _table(("", ""), [*findings(result), *_limits(result)])
    yield from _truth(result)
    for name, found in changes(result):
        yield f"<h2>{name.capitalize()} ({len(found)})</h2>" + (_changes(found) if found else "")
    yield "<p class=note>Pictures: FLAIR with A's outline (amber), with B's (blue), and the pixels"
    yield " that one side alone outlines.</p>"
    yield from _worst("Worst by mask Dice", "Dice", result.worst_mask_dice)
    yield from _worst(
        "Worst by probability", "B - A of tumor_probability", result.worst_probability
    )
    yield "</html>\n"


def _truth(result: ComparisonResult) -> Iterator[str]:
    labels = result.labels
    if labels is None:
        return
    yield f"<h2>Against the truth</h2><p>{labels.patients} patients, {labels.slices:,} slices,"
    yield f" {labels.positive:,} with tumour, {labels.left_out} left out (not finite); 95 %"
    yield " bootstrap intervals over patients, the same patients drawn for both sides.</p>"
    yield _table(("", "A", "B", "B - A"), list(figures(result)))


def _limits(result: ComparisonResult) -> Iterator[tuple[str, str]]:
    for limit in result.limits:
        verdict = "ok" if limit.passed else "FAILED"
        yield limit.name, f"{verdict}: {limit.found}; wanted {limit.wanted}"


def _changes(found: Sequence[Change]) -> str:
    rows = [
        (
            name_of(each.source, each.index),
            *(
                f"{'not finite' if value is None else f'{value:.4f}'}: {what}"
                for value, what in ((each.a_probability, each.a), (each.b_probability, each.b))
            ),
        )
        for each in found
    ]
    return _table(("slice", "A", "B"), rows)


def _worst(title: str, what: str, found: Sequence[Worst]) -> Iterator[str]:
    yield f"<h2>{title}</h2>"
    if not found:
        yield "<p>No slice differs.</p>"
    for each in found:
        address = quote(each.picture)
        yield f"<figure><a href='{address}'><img loading=lazy src='{address}' alt=''></a>"
        yield f"<figcaption>{escape(name_of(each.source, each.index))}: {what}"
        yield f" {each.value:.4f}</figcaption></figure>"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    first = "".join(f"<th>{escape(cell)}" for cell in head) if any(head) else ""
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}" for cell in row) + "\n" for row in rows)
    return f"<table>{'<tr>' + first if first else ''}{body}</table>"
