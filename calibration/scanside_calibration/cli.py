"""``scanside calibrate``: INT8 and FP16 from a bundle's FP32 models."""

from __future__ import annotations

import shlex
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from scanside.bundle import open_bundle
from scanside.cli.given import given_options
from scanside.cli.options import pin_option
from scanside.cli.progress import progress
from scanside.cli.say import say
from scanside.errors import ExtraNotInstalledError

if TYPE_CHECKING:
    from collections.abc import Callable

    from scanside.bundle import Bundle
    from scanside.contract import Precision
    from scanside.evaluation.dataset import Dataset
    from scanside_calibration.report import Record
    from scanside_calibration.run import Request

__all__ = ["calibrate"]

_METHODS: Final = ("auto", "max", "percentile", "entropy", "mse")
_DROPS: Final = ("dice", "auc", "sensitivity")
_AGREEMENTS: Final = ("mean", "p5")
_SLICES: Final = 300
"""As `scanside_calibration.material.SLICES`, which costs an import."""

_FILE: Final = click.Path(exists=True, dir_okay=False, path_type=Path)


def _limits(form: str, names: tuple[str, ...]) -> Callable[..., dict[str, float]]:
    """Return what reads ``name=value`` into the guard's own names."""

    def read(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> dict[str, float]:
        found: dict[str, float] = {}
        for value in (part for given in values for part in given.split(",")):
            name = value.split("=")[0]
            try:
                limit = float(value[len(name) + 1 :])
            except ValueError:
                limit = -1.0
            if name not in names or not 0 <= limit <= 1 or form.format(name) in found:
                raise click.BadParameter(
                    f"{value!r}; accepted: NAME=VALUE with one of {', '.join(names)}, each once,"
                    " and a value from 0 to 1"
                )
            found[form.format(name)] = limit
        return found

    return read


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@pin_option
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
    metavar="BUNDLE2",
    help="Folder or .zip to write; it must not exist.",
)
@click.option(
    "--split",
    type=_FILE,
    metavar="FILE",
    help="The split that the models were trained with: its training part gives the ranges, its"
    " validation part is what the accuracy guard measures on.  [default: one is drawn, and the"
    " manifest says that the guard's patients may have been trained on]",
)
@click.option(
    "--precision",
    "precisions",
    multiple=True,
    type=click.Choice(["int8", "fp16"]),
    help="What to make; may be given twice.  [default: int8]",
)
@click.option(
    "--drop",
    "dropped",
    multiple=True,
    type=click.Choice(["fp32"]),
    help="Leave FP32 out of BUNDLE2: smaller, but `verify --data` has no reference then.",
)
@click.option(
    "--method",
    type=click.Choice(_METHODS),
    default="auto",
    show_default=True,
    help="How ranges are chosen; auto compares all of them and takes what is closest to FP32.",
)
@click.option(
    "--slices",
    type=click.IntRange(min=1),
    default=_SLICES,
    show_default=True,
    help="Slices that give the ranges; fewer than 32 are refused.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of what is drawn.")
@click.option(
    "--max-drop",
    "max_drop",
    multiple=True,
    callback=_limits("{}_drop", _DROPS),
    metavar="NAME=VALUE",
    help="Largest drop that the accuracy guard accepts: dice, auc, sensitivity.  [default:"
    " dice=0.005, auc=0.003, sensitivity=0.005]",
)
@click.option(
    "--min-agreement",
    "min_agreement",
    multiple=True,
    callback=_limits("agreement_{}", _AGREEMENTS),
    metavar="NAME=VALUE",
    help="Smallest Dice of masks against FP32's: mean, p5.  [default: mean=0.97, p5=0.9]",
)
@click.option(
    "--sensitivity",
    "always_analyse",
    is_flag=True,
    help="Measure what every layer costs, though the guard holds.",
)
@click.option(
    "--report",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="JSON of all that was measured, written on a refusal too.",
)
@click.pass_context
def calibrate(context: click.Context, /, **options: Any) -> None:  # noqa: ANN401 - as declared
    """Make INT8 (or FP16) models from BUNDLE's FP32 ones and write them as BUNDLE2.

    Slices of training patients give the ranges; the method is the one whose models stay closest
    to FP32 on other training patients. The accuracy guard then compares INT8 with FP32 on the
    validation patients: where it does not hold, the layers that cost most go back to float, and
    if that does not help nothing is written (exit code 5). Thresholds stay as they are.
    """
    for package in ("onnx", "onnxruntime"):
        if find_spec(package) is None:
            raise ExtraNotInstalledError("scanside calibrate", package=package, extra="calibrate")
    from scanside.cli.indexing import index
    from scanside.publish import check_free
    from scanside_calibration.report import Record
    from scanside_calibration.run import check_request, run
    from scanside_calibration.show import show

    source = open_bundle(options["bundle"], manifest_sha256=options["bundle_sha256"])
    request = _request(context, options)
    check_request(source, request)
    report: Path | None = options["report"]
    if report is not None:
        check_free(report)
    split: Path | None = options["split"]
    if split is None:
        say("no --split: patients are divided here; those of the guard may have been trained on")
    record = Record()
    dataset = index(options["data"])
    _say_foreign(source, dataset)
    try:
        written = run(source, dataset, split, request, record, stage=progress, say=say)
    except BaseException:
        show(record.tables(), err=True)
        raise
    finally:
        _write_report(record, report)
    show(record.tables(), err=False)
    precisions = ", ".join(written.manifest.precisions)
    click.echo(
        f"{request.output}: {written.label} with {precisions}"
        f" (default {written.manifest.default_precision})"
    )


def _request(context: click.Context, options: dict[str, Any]) -> Request:
    from scanside_calibration.guard import limits_with
    from scanside_calibration.int8.methods import Method
    from scanside_calibration.run import Request

    wanted = options["method"]
    chosen = tuple(
        method for method in Method if wanted == "auto" or method.value.split()[0] == wanted
    )
    given: tuple[Precision, ...] = options["precisions"] or ("int8",)
    idle = {"--method", "--sensitivity"} & set(given_options(context))
    if idle and "int8" not in given:
        raise click.UsageError(
            f"{' and '.join(sorted(idle))}: for --precision int8, which is not made"
        )
    return Request(
        output=options["output"],
        precisions=tuple(dict.fromkeys(given)),
        methods=chosen,
        slices=options["slices"],
        seed=options["seed"],
        limits=limits_with(options["max_drop"] | options["min_agreement"]),
        dropped=tuple(dict.fromkeys(options["dropped"])),
        always_analyse=options["always_analyse"],
        command=_command_line(context),
    )


def _say_foreign(source: Bundle, dataset: Dataset) -> None:
    trained = source.manifest.provenance.dataset_sha256
    if trained is not None and trained != dataset.sha256:
        say(
            f"the bundle was trained on the dataset {trained[:12]}, and this one is"
            f" {dataset.sha256[:12]}: ranges and figures are those of these slices"
        )


def _write_report(record: Record, path: Path | None) -> None:
    document = record.document()
    if path is None or document is None:
        return
    import msgspec

    from scanside.writers.files import write_atomic

    write_atomic(path, msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n")


def _command_line(context: click.Context) -> str:
    """Return the command line as it was given, paths by their names alone.

    The bundle ships: where things lay on this machine is nobody's business.
    """
    words = ["scanside", "calibrate"]
    for parameter in context.command.params:
        name = parameter.name or ""
        value = context.params.get(name)
        source = context.get_parameter_source(name)
        if value is None or source is not click.core.ParameterSource.COMMANDLINE:
            continue
        words += _words(parameter, value)
    return shlex.join(words)


def _words(parameter: click.Parameter, value: object) -> list[str]:
    if isinstance(parameter, click.Argument):
        return [_shown(value)]
    if value is True:
        return [parameter.opts[0]]
    if isinstance(value, dict):
        values = [f"{name}={limit:g}" for name, limit in value.items()]
        values = [each.replace("_drop", "").replace("agreement_", "") for each in values]
    else:
        values = [_shown(each) for each in (value if isinstance(value, tuple) else (value,))]
    return [word for each in values for word in (parameter.opts[0], each)]


def _shown(value: object) -> str:
    return value.name if isinstance(value, Path) else str(value)
