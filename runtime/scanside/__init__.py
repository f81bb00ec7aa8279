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

from scanside.bundle import Bundle, open_bundle
from scanside.errors import (
    BackendError,
    BenchmarkInvalidError,
    BundleError,
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
from scanside.pipeline import Pipeline, Result
from scanside.preprocess import Window

__all__ = [
    "BackendError",
    "BenchmarkInvalidError",
    "Bundle",
    "BundleError",
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
