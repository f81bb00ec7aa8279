"""From the records to ratios: one JSON object."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from peerbench.figures import best, percentile, ratios, spread
from peerbench.plan import KERAS, PEERS, USUAL

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from peerbench.figures import Spread
    from peerbench.plan import Product
    from peerbench.prepared import Prepared
    from peerbench.results import Results

__all__ = ["CLASSES", "conclude"]

_RATE = ("stream", "slices_per_second")
CLASSES: Final = ("segmented", "skipped")

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
        "usual models": _usual(results, prepared),
        "int8 peak": results.values("peak", "best")[0],
        "float32 peak": results.values("peak", "float32")[0],
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
        "streaming / usual": _plain(ratios(rate, _usual_rate(results, prepared))),
        "streaming / (b)": _plain(ratios(rate, results.values("ort-fp32", *_RATE))),
        "streaming / (d)": _plain(ratios(rate, results.values(_peer_int8(results), *_RATE))),
        "positive slice / (d)": _plain(
            ratios(_positive(results, latency), _positive(results, "openvino-nncf"))
        ),
        "milliseconds beyond the models": {
            way: _samples(results.pooled(latency, "latency", f"{way}_beyond_ms")) for way in CLASSES
        },
        "p99 / p50": {
            way: round(results.tail(latency, "latency", f"{way}_ms"), 3)
            for way in (*CLASSES, "machine")
        },
        "samples": {way: len(results.pooled(latency, "latency", f"{way}_ms")) for way in CLASSES},
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


def _usual_rate(results: Results, prepared: Prepared) -> list[float]:
    """Return slices a second of each round: the models alone, through the same gate."""
    share = len(prepared.segmented) / len(prepared.files)
    return [
        1e3 / (classify + share * segment)
        for classify, segment in zip(
            results.values(USUAL, "bare", "ms", "classifier"),
            results.values(USUAL, "bare", "ms", "segmenter"),
            strict=True,
        )
    ]


def _usual(results: Results, prepared: Prepared) -> dict[str, Any]:
    return {
        "slices a second": _plain(spread(_usual_rate(results, prepared))),
        "ms": {
            role: _plain(results.spread(USUAL, "bare", "ms", role))
            for role in ("classifier", "segmenter")
        },
        "macs": results.values(USUAL, "bare", "macs")[-1],
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
    for way in CLASSES:
        medians = results.medians(name, "latency", f"{way}_ms")
        found[f"{way}, ms"] = _plain(spread(medians)) if medians else None
    return found


def _product(results: Results, name: str) -> dict[str, Any]:
    latency = f"{name}-latency"
    found = _case(results, name)
    for way in CLASSES:
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
