"""``scanside info``: what a bundle holds."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from scanside.bundle import Bundle, open_bundle
from scanside.cli.options import pin_option
from scanside.cli.say import show
from scanside.contract import ROLES, Manifest

__all__ = ["info"]


@click.command()
@click.argument("bundle", required=False, type=click.Path(path_type=Path))
@pin_option
@click.option("--json", "as_json", is_flag=True, help="Print the manifest as JSON.")
@click.option("--card", is_flag=True, help="Print the model card.")
def info(*, bundle: Path | None, bundle_sha256: str | None, as_json: bool, card: bool) -> None:
    """Say what BUNDLE holds; by default the one that ships; it is verified first."""
    if as_json and card:
        raise click.UsageError("give --json or --card, not both")
    opened = open_bundle(bundle, manifest_sha256=bundle_sha256)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(opened.manifest), indent=2))
    elif card:
        click.echo(opened.read("$.card").decode("utf-8"), nl=False)
    else:
        show([*_heading(opened), *_models(opened.manifest), *_facts(opened)])


def _heading(bundle: Bundle) -> list[str]:
    return [
        f"{bundle.label}: {bundle.manifest.description}",
        f"  {bundle.path}",
        f"  manifest.json sha256 {bundle.manifest_sha256}",
        "",
        f"{'model':<12} {'precision':<10} {'MB':>6} {'opset':>6}  parity",
    ]


def _models(manifest: Manifest) -> list[str]:
    rows = []
    for role in ROLES:
        for precision in manifest.precisions:
            model = manifest.models[role][precision]
            default = "*" if precision == manifest.default_precision else ""
            rows.append(
                f"{role:<12} {precision + default:<10} {model.size / 1e6:>6.1f} {model.opset:>6}"
                f"  {model.parity.same_decision:.1%} same decisions on {model.parity.slices}"
                f" slices ({model.parity.data}), largest error {model.parity.max_abs_error:.1g}"
            )
    return [*rows, "  * the default"]


def _facts(bundle: Bundle) -> list[str]:
    manifest = bundle.manifest
    held, made = manifest.thresholds, manifest.provenance
    source, batch = manifest.input, manifest.batch
    return [
        "",
        f"input       {source.name} {source.dtype} [N, {', '.join(map(str, source.shape))}]:"
        f" {', '.join(source.channels)}; {source.scaling}",
        f"thresholds  gate {held.gate:.4g}, decision {held.decision:.4g}, mask {held.mask:.4g}",
        f"            {held.chosen}",
        f"engines     for {batch.min} to {batch.max} slices at once, tuned for {batch.opt}",
        f"made        {made.created} from {made.dataset} at commit {made.commit}",
        f"licence     {manifest.license.name}: {manifest.license.notice}",
        "",
        "Research use only: not a medical device. scanside info --card prints the model card.",
    ]
