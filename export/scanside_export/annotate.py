"""A bundle again, with figures that were measured on it, and a card that quotes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from scanside.contract import AuxiliaryFile
from scanside.publish import facts, publish
from scanside_export.card import model_card, sections

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from scanside.bundle import Bundle

__all__ = ["annotate"]

_KEPT: Final = ("INT8", "FP16")
"""Sections that ``scanside calibrate`` adds to a card."""


def annotate(
    bundle: Bundle,
    destination: Path,
    *,
    metrics: Mapping[str, Any],
    notes: str = "",
    said: Mapping[str, str] | None = None,
) -> Bundle:
    """Write a bundle again with its own figures; models and golden slices stay as they are.

    Parameters
    ----------
    bundle
        The bundle that was measured.
    destination
        A folder or a ``.zip`` that does not exist.
    metrics
        What `read_figures_of_bundle` read.
    notes
        For the card: what the figures do not say, Markdown.
    said
        ``name``, ``version`` and ``description`` where they change.

    Raises
    ------
    OutputError
        If the destination exists or can't be written.
    ParityError
        If the bundle does not pass its golden slices on this machine; nothing is left behind.
    """
    manifest = msgspec.structs.replace(bundle.manifest, metrics=dict(metrics), **(said or {}))
    files = {entry.file: bundle.read(field) for field, entry in manifest.files().items()}
    # What the calibration wrote of its trials and its guard stands nowhere else.
    kept = sections(bundle.read("$.card").decode(), _KEPT)
    told = "\n\n".join(part for part in (notes.strip(), kept) if part)
    content = model_card(manifest, told).encode()
    card = AuxiliaryFile(**facts(manifest.card.file, content))
    files[card.file] = content
    return publish(destination, msgspec.structs.replace(manifest, card=card), files)
