"""From the records to ratios, one JSON object and a Markdown page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from peerbench.figures import best, percentile, ratios, spread
from peerbench.plan import KERAS, PEERS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from peerbench.figures import Spread
    from peerbench.plan import Product
    from peerbench.prepared import Prepared
    from peerbench.results import Results

__all__ = ["conclude", "markdown"]

_RATE = ("stream", "slices_per_second")
_CLASSES: Final = ("segmented", "skipped")

_SAME_WORK: Final = 0.05
"""Largest difference, as a share of the slices, of the number that a case sends to the segmenter
from the float models' number: beyond it a case did other work, and no ratio holds."""


def conclude(results: Results, prepared: Prepared, ours: Sequence[Product]) -> dict[str, Any]:
    """Return everything that the run says.

    Parameters
    ----------
    results
        All records.
    prepared
        What was prepared.
    ours
        scanside's cases.
    """
    int8 = [product for product in ours if product.precision == "int8"]
    if not int8:
        return {"invalid": ["scanside has no INT8 on any backend here"], "table": {}}
    default = str(results.values("auto-cold", "backend")[-1])
    fastest = best({product.backend: results.values(product.name, *_RATE) for product in int8})
    quickest = best(
        {
            product.backend: [-ms for ms in _positive(results, f"{product.name}-latency")]
            for product in int8
        }
    )
    notebook = best({name: results.values(name, *_RATE) for name in KERAS})
    named = {product.backend: product for product in int8}
    return {
        "schema": "scanside.peers/1",
        "default backend": default,
        "best backend": {"streaming": fastest, "latency": quickest},
        "better Keras case": notebook,
        "table": {
            role: _compared(results, named[streaming], named[single], notebook, prepared)
            for role, streaming, single in (
                ("best", fastest, quickest),
                ("default", default, default),
            )
            if streaming in named and single in named
        },
        "cases": {
            **{peer.name: {"label": peer.label, **_case(results, peer.name)} for peer in PEERS},
            **{
                product.name: {"label": product.label, **_product(results, product.name)}
                for product in ours
            },
        },
        "floor": {product.name: _floor(results, product, prepared) for product in int8},
        "int8 peak": results.values("peak", "best")[0],
        "macs": prepared.macs,
        "guard": prepared.guard,
        "keras": {"architectures": prepared.architectures, "largest error": prepared.keras_error},
        "facts": {**prepared.facts, "slices": len(prepared.files)},
        "invalid": _invalid(results, prepared, ours),
    }


def _compared(
    results: Results, streaming: Product, single: Product, notebook: str, prepared: Prepared
) -> dict[str, Any]:
    """Return the rows of the table for one choice of backends."""
    rate = results.values(streaming.name, *_RATE)
    latency = f"{single.name}-latency"
    whole = f"{streaming.name}-all"
    return {
        "backend, streaming": streaming.backend,
        "backend, latency": single.backend,
        "streaming / (a)": _plain(ratios(rate, results.values(notebook, *_RATE))),
        "streaming / (b)": _plain(ratios(rate, results.values("ort-fp32", *_RATE))),
        "streaming / (d)": _plain(ratios(rate, results.values(_peer_int8(results), *_RATE))),
        "positive slice / (d)": _plain(
            ratios(_positive(results, latency), _positive(results, "openvino-nncf"))
        ),
        "milliseconds beyond the models": {
            way: _samples(results.pooled(latency, "latency", f"{way}_beyond_ms"))
            for way in _CLASSES
        },
        "p99 / p50": {
            way: round(results.tail(latency, "latency", f"{way}_ms"), 3) for way in _CLASSES
        },
        "samples": {way: len(results.pooled(latency, "latency", f"{way}_ms")) for way in _CLASSES},
        "cold start, seconds": _plain(
            results.spread(f"{single.name}-cold", "process", "wall_seconds"), 3
        ),
        "peak memory, MB": round(results.spread(whole, "process", "peak_mb").median, 1),
        "slices of the memory run": int(results.spread(whole, "stream", "slices").median),
        "guard": {
            "in the manifest": prepared.facts["guard recorded in the manifest"],
            "measured here": prepared.guard.get(f"scanside INT8, {single.backend}"),
        },
    }


def _peer_int8(results: Results) -> str:
    names = ("openvino-nncf", "openvino-nncf-lanes")
    return best({name: results.values(name, *_RATE) for name in names})


def _positive(results: Results, case: str) -> list[float]:
    return results.medians(case, "latency", "segmented_ms")


def _case(results: Results, name: str) -> dict[str, Any]:
    found: dict[str, Any] = {
        "slices a second": _plain(results.spread(name, *_RATE)),
        "segmented": results.values(name, "stream", "segmented")[-1],
        "positive": results.values(name, "stream", "positive")[-1],
        "peak memory, MB": _plain(results.spread(name, "stream", "peak_mb"), 1),
        "first slice, seconds": _plain(results.spread(name, "first", "seconds"))
        if results.has(name, "first")
        else None,
        "facts": (results.values(name, "facts") or [{}])[-1],
    }
    for way in _CLASSES:
        medians = results.medians(name, "latency", f"{way}_ms")
        found[f"{way}, ms"] = _plain(spread(medians)) if medians else None
    return found


def _product(results: Results, name: str) -> dict[str, Any]:
    latency = f"{name}-latency"
    found = _case(results, name)
    for way in _CLASSES:
        found[f"{way}, ms"] = _plain(spread(results.medians(latency, "latency", f"{way}_ms")))
    cold = results.spread(f"{name}-cold", "process", "wall_seconds")
    found["first slice, seconds"] = _plain(cold)
    found["facts"] = results.values(latency, "facts")[-1]
    return found


def _floor(results: Results, product: Product, prepared: Prepared) -> dict[str, Any]:
    """Return the bare models' times, and what share of the machine's int8 peak they reach."""
    latency = f"{product.name}-latency"
    classify = _bare(results, latency, "skipped_bare_classify_ms", "segmented_bare_classify_ms")
    segment = _bare(results, latency, "segmented_bare_segment_ms")
    peak = float(results.values("peak", "all_threads")[0])
    bare = {"classifier": classify, "segmenter": segment}
    floor = results.values(f"{product.name}-floor", *_RATE)
    return {
        "bare call, ms": {role: round(ms, 3) for role, ms in bare.items()},
        "GMAC a second": {
            role: round(prepared.macs[role] / ms / 1e6, 1) for role, ms in bare.items()
        },
        "share of the int8 peak": {
            role: round(prepared.macs[role] / ms / 1e6 / peak, 3) for role, ms in bare.items()
        },
        "slices a second": _plain(spread(floor)),
        "streaming / floor": _plain(ratios(results.values(product.name, *_RATE), floor)),
    }


def _bare(results: Results, case: str, *names: str) -> float:
    samples = [value for name in names for value in results.pooled(case, "latency", name)]
    return spread(samples).median


def _invalid(results: Results, prepared: Prepared, ours: Iterable[Product]) -> list[str]:
    """Return why figures of this run may not be quoted."""
    wanted, slices = len(prepared.segmented), len(prepared.files)
    found = []
    for name in (*(peer.name for peer in PEERS), *(product.name for product in ours)):
        found += [
            f"{name} segmented {segmented} of {slices} slices and the float models {wanted}"
            for segmented in sorted(set(results.values(name, "stream", "segmented")))
            if abs(segmented - wanted) > _SAME_WORK * slices
        ]
        if any(results.values(name, "stream", "rejected")):
            found.append(f"{name} rejected slices")
    return found


def _plain(value: Spread, digits: int = 2) -> dict[str, float]:
    return {
        "median": round(value.median, digits),
        "min": round(value.low, digits),
        "max": round(value.high, digits),
    }


def _samples(values: Sequence[float]) -> dict[str, float]:
    return {
        "median": round(percentile(values, 50), 3),
        "p99": round(percentile(values, 99), 3),
    }


def markdown(final: dict[str, Any]) -> str:
    """Return the page of a run.

    Parameters
    ----------
    final
        What `conclude` returned, with ``run``.
    """
    machine, facts = final["run"]["machine"], final.get("facts", {})
    lines = [
        "# scanside beside its peers",
        "",
        f"{facts.get('slices', 0)} slices, {final['run']['rounds']} interleaved rounds, a process"
        f" a case; {machine['processor']}, {machine['cores']} cores; bundle"
        f" {facts.get('bundle', '')}. Median (least to most of the rounds); a ratio is taken"
        " within each round.",
        "",
    ]
    if final["invalid"]:
        lines += ["**INVALID**: " + "; ".join(final["invalid"]), ""]
    if not final["table"]:
        return "\n".join(lines)
    lines += [*_table(final), "", *_cases(final), "", *_floors(final), "", *_guards(final), ""]
    return "\n".join(lines)


def _table(final: dict[str, Any]) -> list[str]:
    columns = final["table"]
    heads = []
    for role, column in columns.items():
        names = dict.fromkeys((column["backend, streaming"], column["backend, latency"]))
        heads.append(f"{role} backend ({' / '.join(names)})")
    better = final["cases"][final["better Keras case"]]["label"]
    rows: list[tuple[str, list[str]]] = [
        (f"INT8 streaming throughput / {better}", _row(columns, "streaming / (a)")),
        ("INT8 streaming throughput / (b) ONNX Runtime FP32", _row(columns, "streaming / (b)")),
        ("INT8 streaming throughput / (d) its better case", _row(columns, "streaming / (d)")),
        ("INT8 latency of a positive slice / (d)", _row(columns, "positive slice / (d)")),
    ]
    for way in _CLASSES:
        rows.append(
            (
                f"ms beyond the bare model calls, {way} slice: median, p99",
                [
                    "{median:.2f}, {p99:.2f}".format(**c["milliseconds beyond the models"][way])
                    for c in columns.values()
                ],
            )
        )
        rows.append(
            (
                f"p99 / p50, {way} slices",
                [f"{c['p99 / p50'][way]:.2f} of {c['samples'][way]}" for c in columns.values()],
            )
        )
    rows += [
        (
            "cold start of `scanside run one`, whole process, s",
            _row(columns, "cold start, seconds"),
        ),
        (
            "peak memory of the process tree, MB",
            [
                f"{c['peak memory, MB']:.0f} on {c['slices of the memory run']:,} slices"
                for c in columns.values()
            ],
        ),
        ("accuracy guard", [_held(c["guard"]) for c in columns.values()]),
    ]
    return [
        "| | " + " | ".join(heads) + " |",
        "|---|" + "---|" * len(heads),
        *(f"| {name} | " + " | ".join(cells) + " |" for name, cells in rows),
    ]


def _row(columns: dict[str, Any], key: str) -> list[str]:
    return [_shown(column[key]) for column in columns.values()]


def _held(guard: dict[str, Any]) -> str:
    recorded, measured = guard["in the manifest"], guard["measured here"]
    first = "none in the manifest" if recorded is None else "holds in the manifest"
    return f"{first}; {'holds' if measured and measured.get('passed') else 'FAILS'} here"


def _shown(value: dict[str, float] | None, digits: int = 2) -> str:
    if value is None:
        return "-"
    low, high = value["min"], value["max"]
    return f"{value['median']:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def _cases(final: dict[str, Any]) -> list[str]:
    lines = [
        "| case | slices/s | segmented slice, ms | skipped slice, ms | peak MB | first slice, s"
        " | to the segmenter |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {case['label']} | {_shown(case['slices a second'], 1)}"
        f" | {_shown(case['segmented, ms'])} | {_shown(case['skipped, ms'])}"
        f" | {_shown(case['peak memory, MB'], 0)} | {_shown(case['first slice, seconds'])}"
        f" | {case['segmented']} |"
        for case in final["cases"].values()
    ]
    chosen = final["cases"]["openvino-default"]["facts"].get("precision", "")
    return [
        *lines,
        "",
        f"OpenVINO's own choice of arithmetic here: `{chosen}`. First slice: from the start of the"
        " process to the first result; for scanside to the end of the process.",
    ]


def _floors(final: dict[str, Any]) -> list[str]:
    peak = final["int8 peak"]
    lines = [
        "| floor | classifier, ms | segmenter, ms | share of int8 peak | bare slices/s | streaming"
        " / floor |",
        "|---|---|---|---|---|---|",
    ]
    for name, floor in final["floor"].items():
        bare, share = floor["bare call, ms"], floor["share of the int8 peak"]
        lines.append(
            f"| {name} | {bare['classifier']:.2f} | {bare['segmenter']:.2f}"
            f" | {share['classifier']:.0%}, {share['segmenter']:.0%}"
            f" | {_shown(floor['slices a second'], 1)} | {_shown(floor['streaming / floor'])} |"
        )
    shown = "; ".join(
        f"{row['gmacs']:.0f} GMAC/s on {threads} thread{'s' if threads != '1' else ''}"
        f" ({row['library']})"
        for threads, row in peak.items()
    )
    macs = ", ".join(f"{role} {count / 1e9:.2f} GMAC" for role, count in final["macs"].items())
    return [*lines, "", f"int8 peak: {shown}. A slice: {macs}."]


def _guards(final: dict[str, Any]) -> list[str]:
    lines = []
    for name, guard in final["guard"].items():
        if "absent" in guard:
            lines.append(f"| {name} | absent: {guard['absent']} | | | |")
            continue
        figures = ", ".join(f"{key} {value:.4f}" for key, value in guard["measured"].items())
        lines.append(
            f"| {name} | {'holds' if guard['passed'] else 'FAILS'} | {figures}"
            f" | {guard['gate_flips']} of {guard['slices']}"
            f" | {guard['probability_difference_p99']:.4f} |"
        )
    return [
        "| INT8 against the float models, validation patients | guard | measured | gate flips"
        " | probability difference, p99 |",
        "|---|---|---|---|---|",
        *lines,
    ]
