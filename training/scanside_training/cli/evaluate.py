"""``scanside evaluate``: what two models are worth on labelled slices."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import click

from scanside.cli.given import check_needs, given_options
from scanside.cli.options import backend_options
from scanside.cli.progress import progress
from scanside.cli.say import say, show
from scanside.errors import OutputError
from scanside.evaluation.bootstrap import RESAMPLES
from scanside.writers.files import output_errors, write_atomic
from scanside_training.cli.subject import choose, notes_on

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scanside.contract import Precision
    from scanside_training.cli.subject import ChosenSlices
    from scanside_training.document import Metrics
    from scanside_training.evaluate import Patient
    from scanside_training.load import Loaded
    from scanside_training.measure import Measured
    from scanside_training.report_pictures import Shown
    from scanside_training.variants import Variant

__all__ = ["evaluate"]

_METRICS: Final = "metrics.json"
_REPORT: Final = "report.html"
_THRESHOLDS: Final = "thresholds.json"
_MARKDOWN: Final = "report.md"
_PLOTS: Final = "plots"

_TOLD: Final = (
    ("classifier.auc", "classifier AUC"),
    ("pipeline.lesion_sensitivity_at_gate", "sensitivity at the gate, 100 px or more"),
    ("pipeline.sensitivity_at_gate", "sensitivity at the gate, all"),
    ("pipeline.skipped", "slices skipped by the gate"),
    ("pipeline.indeterminate", "indeterminate slices"),
    ("segmenter.volume_dice", "volume Dice, positive slices alone"),
    ("pipeline.volume_dice", "volume Dice, after gating"),
)


class _Wanted(NamedTuple):
    """What the thresholds are to be chosen for; see `choose_thresholds`."""

    sensitivity: float
    indeterminate: float


@click.command()
@click.argument("models", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--data",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Folder of labelled slices: a folder per patient, as the LGG dataset has it.",
)
@click.option(
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder for metrics.json and report.html.",
)
@click.option(
    "--split",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Split by `scanside data split`.",
)
@click.option(
    "--part",
    type=click.Choice(["validation", "test", "train", "all"]),
    help="Patients to measure on.  [default: test with --split, all without]",
)
@backend_options
@click.option(
    "--gate",
    type=click.FloatRange(0, 1),
    help="Gate.  [default: the bundle's; 0.5 for Keras models]",
)
@click.option(
    "--decision",
    type=click.FloatRange(0, 1),
    help="Decision threshold, likewise; for Keras models at least the gate.",
)
@click.option(
    "--sensitivity",
    type=click.FloatRange(0, 1, min_open=True),
    metavar="SHARE",
    help="Choose the thresholds: the gate that lets this share of the lesions of 100 px and more"
    " pass. Writes thresholds.json for `scanside export`; use it on the validation part.",
)
@click.option(
    "--indeterminate",
    type=click.FloatRange(0, 1),
    default=0.01,
    show_default=True,
    metavar="SHARE",
    help="With --sensitivity: at most this share of indeterminate slices.",
)
@click.option(
    "--resamples",
    type=click.IntRange(min=1),
    default=RESAMPLES,
    show_default=True,
    help="Of the bootstrap behind every interval.",
)
@click.option(
    "--robustness",
    is_flag=True,
    help="Measure again on changed slices: sequences missing, other intensities, rotated, other"
    " sizes. Takes eight times as long.",
)
@click.option(
    "--markdown",
    is_flag=True,
    help="Write report.md with its plots too: without pictures of slices, fit to be published.",
)
@click.option("--overwrite", is_flag=True, help="Replace the report that --output holds.")
def evaluate(  # noqa: PLR0913 - one parameter an option
    *,
    models: tuple[Path, ...],
    data: Path,
    output: Path,
    split: Path | None,
    part: str | None,
    backend: str,
    precision: Precision | None,
    gate: float | None,
    decision: float | None,
    sensitivity: float | None,
    indeterminate: float,
    resamples: int,
    robustness: bool,
    markdown: bool,
    overwrite: bool,
) -> None:
    """Measure a bundle, or two Keras models, on labelled slices, patient by patient.

    MODELS is a bundle (a folder or .zip), or CLASSIFIER.keras SEGMENTER.keras. Both models run
    on every slice. Writes metrics.json and report.html: the classifier alone, the segmenter on
    positive slices alone, and the pipeline after gating, each figure with a 95 % bootstrap
    interval over patients.
    """
    from scanside_training.report_plots import require_matplotlib

    require_matplotlib("scanside evaluate")
    from scanside_training.load import Chosen, check_models, open_models
    from scanside_training.variants import VARIANTS

    given = given_options(click.get_current_context())
    check_needs(given, {"--indeterminate": "--sensitivity"})
    if sensitivity is not None and (gate is not None or decision is not None):
        raise click.UsageError("--sensitivity chooses the thresholds; leave out those given")
    asked = Chosen(backend, precision, gate, decision)
    check_models(models, asked)
    _prepare_output(output, overwrite=overwrite)
    chosen = choose(data, split, part)
    with open_models(models, asked) as loaded:
        if loaded.fallback is not None:
            say(f"using {loaded.backend.name}: {loaded.fallback}")
        if loaded.reason is not None:
            say(loaded.reason)
        wanted = None if sensitivity is None else _Wanted(sensitivity, indeterminate)
        metrics = _evaluate(
            loaded,
            chosen,
            output,
            resamples,
            wanted,
            variants=VARIANTS if robustness else (),
            markdown=markdown,
        )
    for name, label in _TOLD:
        figure = metrics.figures[name]
        low, high = (_number(end) for end in (figure.low, figure.high))
        click.echo(f"{label + ':':42}{_number(figure.value)}  (95 % CI {low} to {high})")
    show([str(output / _REPORT)])


def _evaluate(
    loaded: Loaded,
    chosen: ChosenSlices,
    output: Path,
    resamples: int,
    wanted: _Wanted | None,
    *,
    variants: Sequence[Variant],
    markdown: bool,
) -> Metrics:
    from scanside_training.document import build_metrics
    from scanside_training.evaluate import by_patient, outcomes_of
    from scanside_training.measure import measure
    from scanside_training.report import report_html
    from scanside_training.report_markdown import plot_name, report_markdown
    from scanside_training.report_plots import plots
    from scanside_training.thresholds import choose_thresholds

    with progress(len(chosen.slices), "slices") as update:
        measured = measure(chosen.slices, loaded.backend, loaded.thresholds.mask, update)
    patients = by_patient(measured)
    thresholds = loaded.thresholds
    if wanted is not None:
        thresholds = choose_thresholds(
            outcomes_of(patients), chosen.subject, **wanted._asdict(), mask=thresholds.mask
        )
        write_atomic(output / _THRESHOLDS, _json(thresholds))
    metrics = build_metrics(
        patients,
        loaded.described,
        chosen.subject,
        thresholds,
        notes_on(loaded, chosen),
        resamples=resamples,
        variants={each.name: _measured(loaded, chosen, each) for each in variants},
    )
    drawn = plots(metrics, patients)
    if markdown:
        files = {title: f"{_PLOTS}/{plot_name(title)}" for title in drawn}
        for title, name in files.items():
            write_atomic(output / name, drawn[title])
        write_atomic(output / _MARKDOWN, report_markdown(metrics, files).encode())
    page = report_html(metrics, drawn, _pictures(measured, loaded))
    write_atomic(output / _METRICS, _json(metrics))
    write_atomic(output / _REPORT, page)
    return metrics


def _measured(loaded: Loaded, chosen: ChosenSlices, variant: Variant) -> tuple[Patient, ...]:
    from scanside_training.evaluate import by_patient
    from scanside_training.measure import measure

    with progress(len(chosen.slices), f"slices, {variant.name}") as update:
        return by_patient(
            measure(chosen.slices, loaded.backend, loaded.thresholds.mask, update, variant)
        )


def _pictures(measured: Sequence[Measured], loaded: Loaded) -> list[tuple[Shown, bytes]]:
    """Draw the chosen slices; they are predicted again, since no mask was kept."""
    import numpy as np

    from scanside.evaluation.dataset import load_mask
    from scanside_training.measure import predict
    from scanside_training.report_pictures import choose as choose_pictures
    from scanside_training.report_pictures import picture

    shown = choose_pictures(measured)
    predictions = predict([each.item for each in shown], loaded.backend)
    return [
        (
            each,
            picture(
                prediction.image,
                load_mask(each.item),
                (prediction.plane >= loaded.thresholds.mask).astype(np.uint8),
            ),
        )
        for each, prediction in zip(shown, predictions, strict=True)
    ]


def _prepare_output(folder: Path, *, overwrite: bool) -> None:
    """Refuse a folder that cannot be written to, or holds a report, before any work."""
    with output_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    names = (_METRICS, _REPORT, _THRESHOLDS, _MARKDOWN)
    earlier = [name for name in names if (folder / name).exists()]
    if earlier and not overwrite:
        raise OutputError(
            f"{folder} holds a report already ({', '.join(earlier)})",
            accepted="a folder without one",
            remedy="name another --output, or give --overwrite to replace it",
        )
    with output_errors(folder):
        for name in earlier:
            (folder / name).unlink()


def _json(document: object) -> bytes:
    import msgspec

    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
