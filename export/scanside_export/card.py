"""The model card: what is known of the bundle's models, and what is not."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from scanside.preprocess import CHANNELS, SIDE

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from scanside.contract import Manifest

__all__ = ["model_card", "sections"]


def model_card(manifest: Manifest, notes: str = "") -> str:
    """Write a model card from what the manifest holds.

    Parameters
    ----------
    manifest
        The manifest; its own entry for the card is not looked at.
    notes
        What the figures do not say, Markdown: intended use, failures that were looked at.

    Returns
    -------
    str
        Markdown.
    """
    return "\n".join(_lines(manifest, notes)) + "\n"


def sections(card: str, titles: Collection[str]) -> str:
    """Return the sections of a card with these titles, as they stand.

    Parameters
    ----------
    card
        Markdown.
    titles
        Of second-level headings.
    """
    parts = re.split(r"^(?=## )", card, flags=re.MULTILINE)[1:]
    kept = [part.strip() for part in parts if part.partition("\n")[0][3:].strip() in titles]
    return "\n\n".join(kept)


def _lines(manifest: Manifest, notes: str) -> Iterator[str]:
    thresholds, source = manifest.thresholds, manifest.provenance
    yield f"# {manifest.name} {manifest.version}"
    yield ""
    yield manifest.description
    yield ""
    yield (
        "Not a medical device: research use only, no diagnosis. A negative result means that"
        " the algorithm found no region, never that there is no tumour."
    )
    yield ""
    yield "## Input and output"
    yield ""
    yield (
        f"`image`, uint8 `[N, {SIDE}, {SIDE}, 3]`: {', '.join(CHANNELS)}; the graphs scale it to"
        " (x - 128) / 128. Classifier: `tumor_probability`. Segmenter: `mask_probability`."
    )
    yield ""
    yield "## Thresholds"
    yield ""
    yield f"- gate {thresholds.gate:g}, decision {thresholds.decision:g}, mask {thresholds.mask:g}"
    yield f"- chosen: {thresholds.chosen}"
    yield ""
    yield "## Training data"
    yield ""
    yield f"- dataset: {source.dataset}"
    yield f"- sha256 of its slices: {source.dataset_sha256 or 'not known'}"
    yield ""
    yield "## Performance"
    yield ""
    yield from _metrics(manifest.metrics)
    yield ""
    if notes:
        yield notes.strip()
        yield ""
    yield "## Agreement with the models that these were made from"
    yield ""
    for role, files in manifest.models.items():
        for precision, file in files.items():
            parity = file.parity
            yield (
                f"- {role} {precision}: largest difference {parity.max_abs_error:.2g}, same"
                f" decision in {parity.same_decision:.1%} of {parity.slices} slices"
                f" ({parity.data}) against {parity.reference}"
            )
    yield ""
    yield "## Not known"
    yield ""
    yield (
        "Behaviour on other scanners, sequences, centres and age groups than those of the"
        " training data, on other kinds of lesion, and after treatment: not measured here unless"
        " Performance says so."
    )
    yield ""
    yield "## Licence of the weights"
    yield ""
    yield f"{manifest.license.name}: {manifest.license.notice} (`{manifest.license.text.file}`)"
    yield ""
    yield "## Provenance"
    yield ""
    yield f"- `{source.command}`"
    yield f"- commit {source.commit}, {source.created}"
    yield f"- {', '.join(f'{name} {version}' for name, version in source.versions.items())}"


def _metrics(metrics: Mapping[str, Any]) -> Iterator[str]:
    if not metrics:
        yield "Not measured: no metrics were given to the export."
        return
    subject, bootstrap = metrics["subject"], metrics["bootstrap"]
    yield f"Measured on {_listed(subject)}; intervals: {_listed(bootstrap)}."
    yield ""
    yield "| figure | value | low | high |"
    yield "|---|---|---|---|"
    for name, figure in metrics["figures"].items():
        ends = " | ".join(_figure(figure[end]) for end in ("value", "low", "high"))
        yield f"| {name} | {ends} |"
    for note in metrics["notes"]:
        yield ""
        yield note

    if robustness := metrics.get("robustness"):
        yield ""
        yield from _robustness(metrics["figures"], robustness)


def _robustness(
    as_it_is: Mapping[str, Any], robustness: Mapping[str, Mapping[str, Any]]
) -> Iterator[str]:
    names = list(next(iter(robustness.values())))
    yield "### On changed slices"
    yield ""
    yield f"| change | {' | '.join(names)} |"
    yield "|---" * (1 + len(names)) + "|"
    for change, figures in {"as it is": as_it_is, **robustness}.items():
        yield f"| {change} | {' | '.join(_figure(figures[name]['value']) for name in names)} |"


def _listed(facts: Mapping[str, Any]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in facts.items())


def _figure(value: float | None) -> str:
    return "not defined" if value is None else f"{value:.4g}"
