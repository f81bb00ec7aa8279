"""Arithmetic whose results do not depend on the device: sums of integers, rounded once a layer.

INT8 differs from FP32 by more than a grey level does, so its distance from FP32's golden outputs
hides a small mistake in what reaches the models. Where two devices compute in the same integers
they give the same classifier outputs, and the golden slices can hold those too.
"""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING, Final

from scanside.backends.derivation import RESULTS_VERSION

if TYPE_CHECKING:
    from scanside.backends.cpufeatures import CpuFeatures
    from scanside.contract import Precision

__all__ = ["ARITHMETIC", "arithmetic"]

ARITHMETIC: Final = "arithmetic"
"""Key of `Backend.describe` under which a backend names its arithmetic."""

_MACHINES: Final = {"x86_64", "AMD64"}
"""Where it was seen to be the same: AVX-512 with VNNI, AVX2 (emulated Haswell), ONNX Runtime 1.23
and 1.32."""


def arithmetic(precision: Precision, features: CpuFeatures) -> str | None:
    """Return the name of the integer arithmetic of ONNX Runtime's CPU provider.

    Parameters
    ----------
    precision
        Of the models.
    features
        The processor's features, which the rewrites go by.

    Returns
    -------
    str or None
        Equal names give equal classifier outputs; none where that is not so or not known.
    """
    if precision != "int8" or platform.machine() not in _MACHINES:
        return None
    width = "wide" if features.wide_dot_product else "narrow"
    return f"integer, {width} dot products, rewrites {RESULTS_VERSION}"
