"""``scanside data``: look at, check and split a labelled dataset; make phantoms."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from scanside.cli.say import show
from scanside.errors import InputError, OutputError, UsageError

if TYPE_CHECKING:
    from scanside.evaluation.dataset import Dataset
    from scanside.evaluation.splits import Split

__all__ = ["data"]

_LAZY: Final = {
    "phantom": "scanside_training.cli.phantom:phantom",
    "to-dicom": "scanside_training.cli.to_dicom:to_dicom",
}
"""Commands of this group that live in a module of their own, imported when they are called."""

_SHARE: Final = 0.15

_folder = click.argument("folder", type=click.Path(path_type=Path))


class _DataGroup(click.Group):
    """The group's own commands, and those of `_LAZY`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return sorted({*super().list_commands(ctx), *_LAZY})

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Return a command, imported if need be."""
        if name in _LAZY:
            module, _, attribute = _LAZY[name].partition(":")
            command: click.Command = getattr(import_module(module), attribute)
            return command
        return super().get_command(ctx, name)


@click.group(cls=_DataGroup)
def data() -> None:
    """Check, describe and split a labelled dataset; make phantoms.

    FOLDER has a folder per patient with PATIENT_N.tif and PATIENT_N_mask.tif, as the LGG MRI
    Segmentation dataset (kaggle_3m), or the same as .webp or .png with masks only where there
    is tumour.
    """


@data.command()
@_folder
@click.option("--keep-going", is_flag=True, help="List every problem, and leave it out.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="What stdout gets.",
)
def index(*, folder: Path, keep_going: bool, form: str) -> int:
    """Decode and check every slice, and count.

    Exits with 3 if anything was left out.
    """
    dataset = _index(folder, keep_going=keep_going)
    if form == "json":
        _tell_json(dataset)
    else:
        _tell_text(dataset)
    return InputError.exit_code if dataset.problems else 0


@data.command()
@_folder
@click.option(
    "--output",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="The split, as JSON; with --folds N, FILE-1 to FILE-N before its suffix.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--validation", type=float, help=f"Share of the patients.  [default: {_SHARE}]")
@click.option("--test", type=float, help=f"Share of the patients, may be 0.  [default: {_SHARE}]")
@click.option("--folds", type=int, help="Cross-validation in place of shares; no test part.")
@click.option("--overwrite", is_flag=True, help="Replace a split that is there.")
def split(
    *,
    folder: Path,
    output: Path,
    seed: int,
    validation: float | None,
    test: float | None,
    folds: int | None,
    overwrite: bool,
) -> None:
    """Split the patients into train, validation and test.

    By patient, never by slice; each part has the same mix of large and small tumours. The same
    seed gives the same split on every machine.
    """
    from scanside.evaluation.splits import make_folds, make_split, write_split

    if folds is not None and (validation is not None or test is not None):
        raise UsageError(
            "--folds was given with --validation or --test",
            accepted="--folds alone: each patient is in one fold's validation part",
        )
    paths = [output]
    if folds is not None:
        paths = [output.with_stem(f"{output.stem}-{at}") for at in range(1, folds + 1)]
    _refuse_existing(paths, overwrite=overwrite)
    dataset = _index(folder)
    if folds is not None:
        made = make_folds(dataset, seed=seed, folds=folds)
    else:
        shares = [_SHARE if share is None else share for share in (validation, test)]
        made = (make_split(dataset, seed=seed, validation=shares[0], test=shares[1]),)
    for path, each in zip(paths, made, strict=True):
        write_split(path, each)
        show([f"{path}: {_describe(each, dataset)}"])


@data.command()
@_folder
@click.option(
    "--output",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Folder for stats.json and the plots.",
)
@click.option("--overwrite", is_flag=True, help="Replace the statistics that --output holds.")
def stats(*, folder: Path, output: Path, overwrite: bool) -> None:
    """Write statistics and plots of the dataset.

    Tumour sizes and places, grey levels, nearly blank slices, and the patients in whom FLAIR
    stands in for another sequence (its channel equals FLAIR in every slice).
    """
    from scanside_training.report_plots import require_matplotlib

    require_matplotlib("scanside data stats")
    import msgspec

    from scanside.cli.progress import progress
    from scanside.writers.files import write_atomic
    from scanside_training.report_data import data_plots, survey

    _refuse_existing([output / "stats.json"], overwrite=overwrite)
    dataset = _index(folder)
    with progress(len(dataset.slices), "slices") as update:
        surveyed = survey(dataset, update)
    for name, content in data_plots(surveyed).items():
        write_atomic(output / name, content)
    encoded = msgspec.json.format(msgspec.json.encode(surveyed.statistics), indent=2)
    write_atomic(output / "stats.json", encoded + b"\n")
    found = surveyed.statistics
    filled = sum(bool(each.flair_instead_of) for each in found.patients)
    blank = sum(len(each.nearly_blank) for each in found.patients)
    click.echo(
        f"{len(found.patients)} patients, {found.slices} slices, {found.positive} positive;"
        f" {found.tumor_share:.2%} of the pixels are tumour; patients with FLAIR in place of"
        f" another sequence: {filled}; nearly blank slices: {blank}"
    )
    show([str(output)])


def _index(folder: Path, *, keep_going: bool = False) -> Dataset:
    from scanside.cli.indexing import index as index_with_progress

    return index_with_progress(folder, keep_going=keep_going)


def _tell_json(dataset: Dataset) -> None:
    import msgspec

    from scanside_training.contents import contents

    click.echo(msgspec.json.format(msgspec.json.encode(contents(dataset)), indent=2))


def _tell_text(dataset: Dataset) -> None:
    from scanside_training.contents import contents

    held = contents(dataset)
    width = max(len("patient"), *(len(row.patient) for row in held.patients))
    lines = [
        f"{'patient':{width}}  slices  positive  tumour px",
        *(
            f"{row.patient:{width}}  {row.slices:6}  {row.positive:8}  {row.tumor_px:9,}"
            for row in held.patients
        ),
        "",
        f"{len(held.patients)} patients, {held.slices:,} slices, {held.positive:,} positive"
        f" ({held.positive / held.slices:.1%})",
        f"sha256 {held.sha256}",
    ]
    if held.problems:
        lines += ["", f"left out ({len(held.problems)}):", *(f"- {p}" for p in held.problems)]
    show(lines)


def _describe(split: Split, dataset: Dataset) -> str:
    parts = []
    for name in ("train", "validation", "test"):
        patients: tuple[str, ...] = getattr(split, name)
        if patients:
            slices = dataset.of(patients)
            share = sum(item.positive for item in slices) / len(slices)
            parts.append(
                f"{name} {len(patients)} patients, {len(slices)} slices, {share:.0%} positive"
            )
    return "; ".join(parts)


def _refuse_existing(paths: list[Path], *, overwrite: bool) -> None:
    there = [str(path) for path in paths if path.exists()]
    if there and not overwrite:
        raise OutputError(
            f"{', '.join(there)} {'is' if len(there) == 1 else 'are'} there already",
            accepted="a path that is free",
            remedy="name another --output, or give --overwrite",
        )
