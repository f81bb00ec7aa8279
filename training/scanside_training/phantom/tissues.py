"""How bright the tissues are: relative intensity in pre-contrast T1, FLAIR, post-contrast T1.

The brain is about 1; the figures were set beside real slices.
"""

from __future__ import annotations

from typing import Final

__all__ = [
    "AIR",
    "BONE",
    "CHOROID",
    "CSF",
    "DEEP_GREY",
    "FALX",
    "FAT",
    "GREY",
    "MARROW",
    "MUSCLE",
    "SKIN",
    "VESSEL",
    "WHITE",
]

AIR: Final = (0.02, 0.02, 0.02)
SKIN: Final = (0.65, 0.5, 1.1)
FAT: Final = (2.5, 2.5, 2.1)
MUSCLE: Final = (0.85, 0.7, 1.0)
BONE: Final = (0.26, 0.18, 0.3)
MARROW: Final = (0.9, 0.6, 0.9)
CSF: Final = (0.34, 0.2, 0.36)
WHITE: Final = (1.07, 0.94, 1.05)
GREY: Final = (0.9, 1.1, 0.93)
DEEP_GREY: Final = (0.99, 1.0, 1.0)
VESSEL: Final = (0.6, 0.35, 2.0)
CHOROID: Final = (0.65, 0.9, 1.7)
FALX: Final = (0.55, 0.5, 1.35)
