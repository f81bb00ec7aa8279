"""A bundle of small trained models in FP32: what needs real weights and no minutes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from scanside import open_bundle

if TYPE_CHECKING:
    from scanside.bundle import Bundle

SMALL = Path(__file__).resolve().parents[1] / "bundles" / "lgg-small"


def open_small() -> Bundle:
    """A quarter of ResNet-50's width and a small ResUNet, trained on the LGG dataset."""
    return open_bundle(SMALL)
