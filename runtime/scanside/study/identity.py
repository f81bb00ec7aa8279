"""How files that scanside writes name their maker, so that a later run leaves them out.

A UID below ``2.25.`` is made of a random UUID and needs no registration.

References
----------
DICOM PS3.5 B.2 (UUID derived UIDs); PS3.7 D.3.3.2 (Implementation Class UID).
"""

from __future__ import annotations

from typing import Final

__all__ = ["IMPLEMENTATION_CLASS_UID", "IMPLEMENTATION_VERSION_NAME", "MANUFACTURER"]

MANUFACTURER: Final = "scanside"
"""Manufacturer (0008,0070) of results."""

IMPLEMENTATION_CLASS_UID: Final = "2.25.111183568489445781911239492343635124801"
"""ImplementationClassUID (0002,0012) of results, and of the network node."""

IMPLEMENTATION_VERSION_NAME: Final = "SCANSIDE_1"
"""ImplementationVersionName (0002,0013); at most 16 characters."""
