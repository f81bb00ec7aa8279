"""``scanside build``: engines of a bundle for this device, or ahead of time."""

from __future__ import annotations

import shlex
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from scanside.cli.given import check_needs, given_options
from scanside.cli.say import say
from scanside.contract import PRECISIONS
from scanside.errors import OutputError
from scanside_export.options import batch, spelled

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scanside.bundle import Bundle
    from scanside.contract import Manifest
    from scanside_export.engine.exchange import Settings
    from scanside_export.engine.implicit import Implicit

__all__ = ["build"]

_MIB: Final = 1 << 20
_CAPABILITIES: Final = ("7.5", "8.0", "8.6", "8.9", "12.0", "12.1")
"""As `scanside_export.engine.exchange.CAPABILITIES`, which costs an import."""

_AHEAD: Final = ("8.6", "8.9", "12.0")
"""Compiled for where none is named: the consumer and workstation GPUs since 2020."""


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path), required=False)
@click.option(
    "--bundle-sha256",
    metavar="HEX",
    help="Refuse the bundle unless its manifest.json has this sha256.",
)
@click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    help="Precision of the models.  [default: the bundle's]",
)
@click.option(
    "--target",
    type=click.Choice(["trt", "rtx"]),
    default="trt",
    show_default=True,
    help="trt: TensorRT, on the device that runs the engine. rtx: TensorRT-RTX, ahead of time on"
    " any x86-64 CPU.",
)
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Where to keep the engines.  [default: the cache folder, where the backend looks]",
)
@click.option("--rebuild", is_flag=True, help="Build though there is an engine that fits.")
@click.option(
    "--batch",
    callback=batch,
    metavar="1,OPT,MAX",
    help="Slices at once: the engine takes 1 to MAX and is tuned for OPT.  [default: the bundle's]",
)
@click.option(
    "--int8-rest",
    type=click.Choice(["fp16", "fp32"]),
    default="fp16",
    show_default=True,
    help="What computes around INT8.",
)
@click.option(
    "--implicit-int8",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Legacy, TensorRT 8.6 to 10: let TensorRT choose INT8 ranges from FOLDER's labelled"
    " slices (those that scanside calibrate would take) in place of the bundle's INT8 models.",
)
@click.option(
    "--split",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="With --implicit-int8: the split that the models were trained with.",
)
@click.option(
    "--level",
    type=click.IntRange(0, 5),
    default=3,
    show_default=True,
    help="How long the builder searches for fast kernels.",
)
@click.option(
    "--workspace",
    type=click.IntRange(min=1),
    metavar="MIB",
    help="Memory that kernels may use besides tensors.  [default: the library's; a quarter of all"
    " where device and host share it]",
)
@click.option(
    "--tactic-dram",
    type=click.IntRange(min=1),
    metavar="MIB",
    help="Memory that the builder may use while it tries kernels.  [default: the library's; a"
    " quarter of all where device and host share it]",
)
@click.option(
    "--compute-capability",
    "capabilities",
    multiple=True,
    type=click.Choice(_CAPABILITIES),
    help="What to compile for with --target rtx; may be given several times.  [default:"
    f" {', '.join(_AHEAD)}]",
)
@click.option(
    "--hardware-compatibility",
    "hardware",
    type=click.Choice(["none", "same", "ampere+"]),
    default="none",
    show_default=True,
    help="Other GPUs that may load the engine: of the same compute capability, or all from"
    " Ampere on. Such engines are slower.",
)
@click.option(
    "--version-compatible",
    is_flag=True,
    help="Let later minor versions of TensorRT load the engine. Such engines are slower, and"
    " carry code of the library that is run when they are loaded.",
)
@click.option("--tf32", is_flag=True, help="Compute FP32 in TF32 where the GPU can.")
@click.option(
    "--memory-limit",
    type=click.IntRange(min=1),
    metavar="MIB",
    help="End a build that holds more memory.  [default: none]",
)
@click.option(
    "--time-limit",
    type=click.FloatRange(min=1),
    default=7200.0,
    show_default=True,
    metavar="SECONDS",
    help="End a build of one engine that takes longer.",
)
@click.option(
    "--json",
    "json_file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write all that is known of the engines, every layer, as JSON.",
)
@click.pass_context
def build(context: click.Context, /, **options: Any) -> None:  # noqa: ANN401 - as declared above
    """Build engines of BUNDLE's models; without BUNDLE, of the bundle that ships.

    An engine belongs to one model, one version of the library, one kind of GPU and one set of
    options: one that is there already is not built again. The library runs in a process of its
    own; where that runs out of memory, or crashes, engines that were there stay as they were.
    """
    from scanside.bundle import open_bundle
    from scanside.cli.progress import progress
    from scanside_export.engine.process import Limits
    from scanside_export.engine.run import Job, build_engines
    from scanside_export.engine.show import as_json, as_text

    given = given_options(context)
    check_needs(given, {"--split": "--implicit-int8"})
    opened = open_bundle(options["bundle"], manifest_sha256=options["bundle_sha256"])
    settings = _settings(options, opened.manifest)
    if "--int8-rest" in given and settings.precision != "int8":
        raise click.UsageError(f"--int8-rest is for int8, and {settings.precision} is built")
    limit = options["memory_limit"]
    folder = _folder(options["output"])
    with _implicit(opened, options, folder) as implicit:
        engines = build_engines(
            opened,
            settings,
            Job(
                folder=folder,
                rebuild=options["rebuild"],
                limits=Limits(options["time_limit"], None if limit is None else limit * _MIB),
                command=_command_line(context),
                say=say,
                stage=progress,
                implicit=implicit,
            ),
        )
    if options["json_file"] is not None:
        _write(options["json_file"], as_json(engines))
    click.echo(as_text(engines), nl=False)


@contextmanager
def _implicit(bundle: Bundle, options: dict[str, Any], folder: Path) -> Iterator[Implicit | None]:
    """Prepare the slices of an implicit calibration, if one is asked for."""
    from scanside.cli.indexing import index
    from scanside.cli.progress import progress
    from scanside_export.engine.implicit import Implicit, provider

    if options["implicit_int8"] is None:
        yield None
        return
    prepare = provider().prepare
    with tempfile.TemporaryDirectory(dir=folder, prefix=".slices.") as scratch:
        file = Path(scratch) / "slices.npy"
        dataset = index(options["implicit_int8"])
        facts = prepare(bundle, dataset, options["split"], file, stage=progress, say=say)
        yield Implicit(file, facts)


def _settings(options: dict[str, Any], manifest: Manifest) -> Settings:
    from scanside_export.engine.exchange import Settings

    target = options["target"]
    capabilities = dict.fromkeys(options["capabilities"] or (_AHEAD if target == "rtx" else ()))
    return Settings(
        target=target,
        precision=options["precision"] or manifest.default_precision,
        profile=options["batch"] or manifest.batch.profile,
        rest=options["int8_rest"],
        level=options["level"],
        workspace=options["workspace"],
        tactic_dram=options["tactic_dram"],
        hardware=options["hardware"],
        version_compatible=options["version_compatible"],
        capabilities=tuple(sorted(capabilities, key=float)),
        tf32=options["tf32"],
    )


def _folder(named: Path | None) -> Path:
    from scanside.engines import engine_folder

    if named is None:
        return engine_folder()
    try:
        named.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{named}: {error.strerror or error}", remedy="name another --output"
        ) from error
    return named


def _write(path: Path, content: bytes) -> None:
    from scanside.privatefile import replace_file

    try:
        replace_file(path, content)
    except OSError as error:
        raise OutputError(
            f"{path}: {error.strerror or error}", remedy="name another --json"
        ) from error


def _command_line(context: click.Context) -> str:
    """Return the command line as it was given."""
    words = ["scanside", "build"]
    for parameter in context.command.params:
        name = parameter.name or ""
        value = context.params.get(name)
        if context.get_parameter_source(name) is not click.core.ParameterSource.COMMANDLINE:
            continue
        if isinstance(parameter, click.Argument):
            words.append(str(value))
        elif value is True:
            words.append(parameter.opts[0])
        elif name == "capabilities" and isinstance(value, tuple):
            words += [word for each in value for word in (parameter.opts[0], str(each))]
        else:
            words += [parameter.opts[0], spelled(value)]
    return shlex.join(words)
