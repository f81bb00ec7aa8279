"""The model card: what is known of the bundle's models, and what is not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scanside.preprocess import CHANNELS, SIDE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from scanside.contract import Manifest, ModelFile

__all__ = ["model_card"]


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
    yield from _quantisation(manifest)
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


def _quantisation(manifest: Manifest) -> Iterator[str]:
    """Say how INT8 and FP16 files were made, and what they cost."""
    files = {
        f"{role} {precision}": file
        for role, by_precision in manifest.models.items()
        for precision, file in by_precision.items()
    }
    if not any(file.calibration or file.half for file in files.values()):
        return
    yield "## Quantisation"
    yield ""
    for name, file in files.items():
        yield from _made(name, file)
    for precision, guard in manifest.guards.items():
        yield ""
        yield (
            f"Accuracy guard of {precision} against FP32: {guard.data}, {guard.patients} patients,"
            f" {guard.slices} slices, on {guard.backend}."
        )
        yield ""
        yield "| figure | measured | limit |"
        yield "|---|---|---|"
        for figure, limit in guard.limits.items():
            yield f"| {figure} | {guard.measured[figure]:.4g} | {limit:g} |"
    yield ""


def _made(name: str, file: ModelFile) -> Iterator[str]:
    if calibration := file.calibration:
        rolled_back = ", ".join(calibration.float_nodes) or "none"
        yield (
            f"- {name}: scales by {calibration.method} on {calibration.slices} slices of"
            f" {calibration.patients} patients (sha256 {calibration.images_sha256[:12]});"
            f" left in float: {rolled_back}"
        )
    if half := file.half:
        yield (
            f"- {name}: largest value {half.largest:.4g} on {half.slices} slices of"
            f" {half.patients} patients, {half.margin:.1f} times below FP16's limit; kept in"
            f" float32: {', '.join(half.float32_nodes) or 'none'}"
        )


def _listed(facts: Mapping[str, Any]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in facts.items())


def _figure(value: float | None) -> str:
    return "not defined" if value is None else f"{value:.4g}"
