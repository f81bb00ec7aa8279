"""Implicit INT8, the legacy way: TensorRT 8 and 10 choose the ranges themselves from slices.

The slices are those of ``scanside calibrate``, with its refusals. `scanside build` finds this
package through the entry point ``scanside.int8_calibrators`` and calls the two functions here:
`prepare` in its own process, `open_calibrator` in the one that builds.
"""

from __future__ import annotations

from scanside_calibration.implicit.calibrator import open_calibrator
from scanside_calibration.implicit.slices import prepare

__all__ = ["open_calibrator", "prepare"]
