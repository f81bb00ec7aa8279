"""The Markdown page of a run."""

from __future__ import annotations

from typing import Any

from peerbench.conclusions import CLASSES

__all__ = ["markdown"]


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
        (
            "INT8 streaming throughput / bare Keras `predict`, batch 32, of the usual models",
            _row(columns, "streaming / usual"),
        ),
        ("INT8 streaming throughput / (b) ONNX Runtime FP32", _row(columns, "streaming / (b)")),
        ("INT8 streaming throughput / (d) its better case", _row(columns, "streaming / (d)")),
        ("INT8 latency of a positive slice / (d)", _row(columns, "positive slice / (d)")),
    ]
    for way in CLASSES:
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
            "p99 / p50 of a bare loop on all cores in between: the machine's own",
            [f"{c['p99 / p50']['machine']:.2f}" for c in columns.values()],
        ),
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
        "",
        _usual(final["usual models"]),
    ]


def _usual(found: dict[str, Any]) -> str:
    parts = ", ".join(
        f"{role} {found['macs'][role] / 1e9:.2f} GMAC, {_shown(found['ms'][role], 1)} ms a slice"
        for role in ("classifier", "segmenter")
    )
    return (
        f"The usual models in Keras `predict` at batch 32, bare: {parts};"
        f" {_shown(found['slices a second'], 1)} slices/s through the same gate, no file read or"
        " written."
    )


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
    return [
        *lines,
        "",
        f"int8 peak: {shown}; float32 peak: {final['float32 peak']:.0f} GMAC/s on all threads"
        f" (NumPy's BLAS). A slice: {macs}.",
    ]


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
