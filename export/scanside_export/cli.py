"""``scanside export``: a bundle from two Keras models."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from scanside.cli.say import say, show
from scanside.contract import Batch, Thresholds, field_path
from scanside.errors import ExtraNotInstalledError, InternalError, UsageError
from scanside_export.options import batch, spelled

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scanside.contract import Role
    from scanside_export.assemble import WeightsLicense

__all__ = ["export"]

UNCHOSEN: Final = Thresholds(
    gate=0.5, decision=0.9, mask=0.5, chosen="not chosen on data: the defaults of scanside export"
)
UNLICENSED: Final = (
    "Nobody has stated the licence of these weights: ask whoever trained them before any use."
)
_PHANTOMS: Final = ("--patients", "6", "--slices", "20", "--seed", "3000")
"""Seeds from 5000 on are left to training."""

_FILE: Final = click.Path(exists=True, dir_okay=False, path_type=Path)
_FOLDER: Final = click.Path(exists=True, file_okay=False, path_type=Path)
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


@click.command()
@click.argument("classifier", type=_FILE, metavar="CLASSIFIER.keras")
@click.argument("segmenter", type=_FILE, metavar="SEGMENTER.keras")
@click.option(
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    metavar="BUNDLE",
    help="Folder or .zip to write; it must not exist.",
)
@click.option(
    "--golden",
    type=_FOLDER,
    metavar="FOLDER",
    help="Phantoms that the golden slices are chosen from: they ship with the bundle, so never"
    " give patients' images here.  [default: made with `scanside data phantom`]",
)
@click.option(
    "--data",
    type=_FOLDER,
    metavar="FOLDER",
    help="Labelled slices to compare Keras and ONNX on; they do not ship.  [default: --golden]",
)
@click.option(
    "--thresholds",
    "thresholds_file",
    type=_FILE,
    metavar="FILE",
    help="JSON with gate, decision, mask and chosen, as `scanside evaluate` writes it.",
)
@click.option("--gate", type=float, help="Probability from which a slice is segmented.")
@click.option("--decision", type=float, help="Probability that contradicts an empty mask.")
@click.option("--mask", type=float, help="Probability from which a pixel is mask.")
@click.option("--chosen", metavar="TEXT", help="How these three were chosen, with figures.")
@click.option(
    "--license-name",
    metavar="TEXT",
    help="Licence of the weights, with the two options below.  [default: not stated, and said so]",
)
@click.option("--license-file", type=_FILE, metavar="FILE", help="Its text.")
@click.option("--license-notice", metavar="TEXT", help="What it means, in one sentence.")
@click.option(
    "--metrics",
    "metrics_file",
    type=_FILE,
    metavar="FILE",
    help="metrics.json of `scanside evaluate` on these models at these thresholds, to quote.",
)
@click.option(
    "--card", type=_FILE, metavar="FILE", help="Model card.  [default: written from the facts]"
)
@click.option("--name", metavar="NAME", help="Name of the bundle.  [default: that of --output]")
@click.option("--bundle-version", default="1", show_default=True, help="Version of the bundle.")
@click.option(
    "--description",
    default="Two-stage brain-tumour analysis: slice classifier and segmenter.",
    show_default=True,
    help="What the bundle is, in one sentence.",
)
@click.option(
    "--dataset",
    default="unknown",
    show_default=True,
    help="Name of the dataset that the models were trained on.",
)
@click.option(
    "--batch",
    callback=batch,
    default="1,1,8",
    show_default=True,
    metavar="1,OPT,MAX",
    help="Slices at once that `scanside build` makes engines of this bundle for: 1 to MAX, tuned"
    " for OPT.",
)
@click.pass_context
def export(context: click.Context, /, **options: Any) -> None:  # noqa: ANN401 - as declared above
    """Convert CLASSIFIER.keras and SEGMENTER.keras to ONNX and put a bundle together.

    Both graphs are rewritten to the model contract, checked node by node, and compared with the
    Keras models; the bundle is verified against its golden slices before this command ends.
    Thresholds that were not chosen and a licence that was not stated are recorded as such.
    """
    for package in ("tensorflow", "tf2onnx", "onnx", "onnxruntime"):
        _require(package)
    thresholds = _thresholds(options)
    name = _bundle_name(options)
    output: Path = options["output"]
    from scanside.publish import check_free
    from scanside_export.assemble import Description
    from scanside_export.figures import read_figures
    from scanside_export.run import run

    check_free(output)
    models: dict[Role, Path] = {
        "classifier": options["classifier"],
        "segmenter": options["segmenter"],
    }
    metrics: Path | None = options["metrics_file"]
    said = Description(
        name=name,
        version=options["bundle_version"],
        description=options["description"],
        thresholds=thresholds,
        license=_license(options),
        metrics={} if metrics is None else read_figures(metrics, thresholds, models.values()),
        card=None if options["card"] is None else _content(options["card"]),
        batch=Batch(opt=options["batch"][1], max=options["batch"][2]),
    )
    with _golden(options["golden"]) as golden:
        bundle = run(
            models,
            output,
            said,
            golden=golden,
            data=options["data"],
            dataset=options["dataset"],
            command=_command_line(context),
            say=lambda line: click.echo(line, err=True),
        )
    show([f"{output}: {bundle.label}, manifest sha256 {bundle.manifest_sha256}"])
    for role, files in bundle.manifest.models.items():
        for precision, file in files.items():
            click.echo(
                f"  {role} {precision}: {file.size:,} bytes, opset {file.opset}, differs from"
                f" {file.parity.reference} by at most {file.parity.max_abs_error:.2g}"
                f" on {file.parity.slices} slices"
            )


def _thresholds(options: dict[str, Any]) -> Thresholds:
    """Return the thresholds from the file or from the options, never from both."""
    path = options["thresholds_file"]
    given = {name: options[name] for name in ("gate", "decision", "mask", "chosen")}
    missing = [f"--{name}" for name, value in given.items() if value is None]
    if path is None and len(missing) == len(given):
        say(
            f"the thresholds are defaults ({UNCHOSEN.gate}, {UNCHOSEN.decision}), not"
            " chosen on data: choose them with scanside evaluate --sensitivity"
        )
        return UNCHOSEN
    if (path is None) == (len(missing) == len(given)) or (path is None and missing):
        found = "--thresholds" if path is not None else "no thresholds"
        named = [f"--{name}" for name, value in given.items() if value is not None]
        raise UsageError(
            f"given: {' and '.join([found, *named])}",
            accepted="--thresholds FILE, or all of --gate, --decision, --mask and --chosen",
            remedy="scanside evaluate --sensitivity chooses thresholds on a validation split",
        )
    try:
        if path is not None:
            return msgspec.json.decode(_content(path), type=Thresholds)
        return msgspec.convert(given, Thresholds)
    except msgspec.ValidationError as error:
        what, field = field_path(error)
        raise UsageError(f"{path or 'the thresholds'}: {field}: {what}") from None
    except msgspec.DecodeError as error:
        raise UsageError(f"{path} is no JSON: {error}") from None


def _license(options: dict[str, Any]) -> WeightsLicense:
    from scanside_export.assemble import WeightsLicense

    given = [options[name] for name in ("license_name", "license_notice", "license_file")]
    if not any(given):
        return WeightsLicense("not stated", UNLICENSED, UNLICENSED.encode() + b"\n")
    if not all(given):
        raise UsageError(
            "a part of the licence is given",
            accepted="all of --license-name, --license-notice and --license-file, or none",
        )
    return WeightsLicense(given[0], given[1], _content(given[2]))


@contextmanager
def _golden(folder: Path | None) -> Iterator[Path]:
    """Give the folder, or phantoms made for this export."""
    if folder is not None:
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="scanside-golden-") as scratch:
        made = Path(scratch) / "phantoms"
        # By its command: the packages hand each other files, they don't import each other.
        command = [sys.executable, "-m", "scanside", "data", "phantom", str(made), *_PHANTOMS]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
        if done.returncode != 0:
            raise InternalError(f"scanside data phantom failed: {done.stderr.strip()}")
        yield made


def _bundle_name(options: dict[str, Any]) -> str:
    name = options["name"] or options["output"].stem.lower()
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"the bundle's name is {name!r}",
            accepted="small letters, digits, dots, underscores and hyphens, up to 64",
            remedy="give it with --name",
        )
    return str(name)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} can't be read: {error.strerror or error}") from None


def _command_line(context: click.Context) -> str:
    """Return the command line as it was given, paths by their names alone.

    The bundle ships: where things lay on this machine is nobody's business.
    """
    words = ["scanside", "export"]
    for parameter in context.command.params:
        value = context.params.get(parameter.name or "")
        source = context.get_parameter_source(parameter.name or "")
        if value is None or source is not click.core.ParameterSource.COMMANDLINE:
            continue
        shown = value.name if isinstance(value, Path) else spelled(value)
        words += [shown] if isinstance(parameter, click.Argument) else [parameter.opts[0], shown]
    return shlex.join(words)


def _require(package: str) -> None:
    from importlib.util import find_spec

    if find_spec(package) is None:
        raise ExtraNotInstalledError("scanside export", package=package, extra="train")
