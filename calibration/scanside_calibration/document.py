"""``scanside calibrate --report``: what was tried and measured, as ``scanside.calibration/1``."""

from __future__ import annotations

from typing import Final, Literal

from scanside.contract import Precision, Role  # noqa: TC001 - msgspec reads annotations
from scanside.fields import Count, Part, Sha256

__all__ = ["REPORT_SCHEMA", "Facts", "GuardRound", "Report", "Source"]

REPORT_SCHEMA: Final = "scanside.calibration/1"

Row = dict[str, str | bool | float | None]
"""Words and figures by name; what is not defined is null."""


class Source(Part, frozen=True, kw_only=True):
    """The bundle whose models are converted: its name and the hash of its manifest."""

    label: str
    manifest_sha256: Sha256


class Facts(Part, frozen=True, kw_only=True):
    """What is calibrated, on what.

    Attributes
    ----------
    bundle
        Whose models.
    dataset_sha256, split_sha256
        The dataset, and how its patients were divided.
    images_sha256, slices, patients
        What the ranges are taken from.
    guard_data
        What the accuracy guard measures on, in words.
    limits
        What it allows, by the name of the figure.
    """

    bundle: Source
    dataset_sha256: Sha256
    split_sha256: Sha256 | None
    images_sha256: Sha256
    slices: Count
    patients: Count
    guard_data: str
    limits: dict[str, float]


class GuardRound(Part, frozen=True, kw_only=True):
    """What the accuracy guard said of a conversion.

    Attributes
    ----------
    float_nodes
        Nodes that stayed in floating point, by model.
    passed, blamed
        The verdict, and the models that failed.
    figures
        What was compared, and the limits.
    """

    float_nodes: dict[Role, tuple[str, ...]]
    passed: bool
    blamed: tuple[Role, ...]
    figures: tuple[Row, ...]


class Report(Facts, frozen=True, kw_only=True):
    """Everything that was found.

    Attributes
    ----------
    methods
        The methods that were compared.
    sensitivity
        What each layer costs, by model.
    guard
        Its rounds, by precision.
    """

    schema: Literal["scanside.calibration/1"] = REPORT_SCHEMA
    methods: tuple[Row, ...]
    sensitivity: dict[Role, tuple[Row, ...]]
    guard: dict[Precision, tuple[GuardRound, ...]]
