"""JSON Schemas of what this package's commands write, as `scanside.schemas` has them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from scanside.schemas import Documents

__all__ = ["DOCUMENTS"]

DOCUMENTS: Final[Documents] = {
    "calibration": ("scanside_calibration.document", ("Report",)),
}
