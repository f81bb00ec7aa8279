"""scanside: two-stage brain-tumour analysis beside the MRI scanner.

Every slice goes through a classifier; only positive slices go through a segmenter that outlines
the region. Research use only: not a medical device.

Examples
--------
>>> import scanside
>>> bundle = scanside.open_bundle()
>>> with scanside.Pipeline.open(bundle) as pipeline:
...     result = pipeline.analyse(pixels)  # uint8 [H, W, 3]: pre-contrast, FLAIR, post-contrast
>>> result.tumor, result.tumor_probability, result.region.area
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Final

# ONNX Runtime 1.29 and later write a device identifier to the user's cache and send usage events
# to their maker unless this is set before they are imported (microsoft/onnxruntime#27379). A
# scanner's computer sends nothing that its site has not asked for; a site that set it decides.
# Its next versions read the second name.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
os.environ.setdefault("ORT_TELEMETRY_DISABLED", os.environ["ORT_DISABLE_TELEMETRY"])

from scanside.errors import (
    BackendError,
    BenchmarkInvalidError,
    BundleError,
    DeviceLostError,
    EngineError,
    ExtraNotInstalledError,
    IndeterminateError,
    InputError,
    InternalError,
    OutputError,
    ParityError,
    ScansideError,
    UsageError,
)

if TYPE_CHECKING:
    from scanside.bundle import Bundle, open_bundle
    from scanside.pipeline import Pipeline, Result
    from scanside.preprocess import Window

__all__ = [
    "BackendError",
    "BenchmarkInvalidError",
    "Bundle",
    "BundleError",
    "DeviceLostError",
    "EngineError",
    "ExtraNotInstalledError",
    "IndeterminateError",
    "InputError",
    "InternalError",
    "OutputError",
    "ParityError",
    "Pipeline",
    "Result",
    "ScansideError",
    "UsageError",
    "Window",
    "open_bundle",
]

_ON_USE: Final = {
    "Bundle": "scanside.bundle",
    "Pipeline": "scanside.pipeline",
    "Result": "scanside.pipeline",
    "Window": "scanside.preprocess",
    "open_bundle": "scanside.bundle",
}
"""What needs numpy or OpenCV, with its module: the command line's help needs neither."""


def __getattr__(name: str) -> object:
    """Import a name on its first use."""
    if name not in _ON_USE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(_ON_USE[name]), name)
    globals()[name] = value
    return value
