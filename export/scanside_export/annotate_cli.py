"""``scanside annotate``: a bundle with figures that were measured on it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from scanside.cli.say import show
from scanside.errors import UsageError

__all__ = ["annotate"]

_FILE: Final = click.Path(path_type=Path)


@click.command()
@click.argument("bundle", type=_FILE)
@click.option(
    "--metrics",
    "metrics_file",
    required=True,
    type=_FILE,
    metavar="FILE",
    help="metrics.json of `scanside evaluate BUNDLE`.",
)
@click.option("--output", required=True, type=_FILE, metavar="BUNDLE2", help="What to write.")
@click.option(
    "--notes",
    "notes_file",
    type=_FILE,
    metavar="FILE",
    help="Markdown for the model card: intended use, failures that were looked at.",
)
@click.option("--name", help="Name of the bundle.  [default: as it was]")
@click.option("--bundle-version", help="Version of the bundle.  [default: as it was]")
@click.option("--description", help="What it is, in one sentence.  [default: as it was]")
def annotate(
    *,
    bundle: Path,
    metrics_file: Path,
    output: Path,
    notes_file: Path | None,
    name: str | None,
    bundle_version: str | None,
    description: str | None,
) -> None:
    """Write BUNDLE again with figures that were measured on it, and a card that quotes them.

    The models and golden slices stay byte for byte. Figures of another bundle, or at other
    thresholds, are refused. The bundle is verified before this command ends.
    """
    from scanside import open_bundle
    from scanside.publish import check_free
    from scanside_export.annotate import annotate as write_annotated
    from scanside_export.figures import read_figures_of_bundle

    check_free(output)
    opened = open_bundle(bundle)
    metrics = read_figures_of_bundle(
        metrics_file, opened.manifest.thresholds, opened.manifest_sha256
    )
    said = {"name": name, "version": bundle_version, "description": description}
    written = write_annotated(
        opened,
        output,
        metrics=metrics,
        notes="" if notes_file is None else _text(notes_file),
        said={field: value for field, value in said.items() if value is not None},
    )
    show([f"{output}: {written.label}, manifest sha256 {written.manifest_sha256}"])


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} can't be read as text: {error}") from None
