"""Where candidates are tried: FP32's outputs, computed once, and what compares with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from scanside.contract import Precision, Role
from scanside.evaluation.dataset import load_image
from scanside.evidence import Guard, Parity
from scanside.preprocess import preprocess
from scanside.verification import dice
from scanside_calibration.candidate import running, trial
from scanside_calibration.guard import judge
from scanside_calibration.observe import observe, outputs_of
from scanside_calibration.search import distances, farthest
from scanside_calibration.stated import STATED

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager

    from numpy.typing import NDArray

    from scanside.backends.base import Backend
    from scanside.bundle import Bundle
    from scanside.evaluation.dataset import DatasetSlice
    from scanside_calibration.guard import Verdict
    from scanside_calibration.observe import Observed, Outputs
    from scanside_calibration.parts import Parts
    from scanside_calibration.search import Distance

__all__ = ["Bench", "Models", "Stage"]

Models = dict[Role, bytes]
"""ONNX files by model."""

SAME_MASK_DICE = 0.999
"""From this Dice on, two masks count as the same decision, as in `scanside.evidence.Parity`."""

_PARITY_AT_ONCE = 8


class Stage(Protocol):
    """How progress is shown: `scanside.cli.progress.progress`, or nothing."""

    def __call__(self, total: int, unit: str) -> AbstractContextManager[Callable[[int], None]]:
        """Begin a job of `total` things; the function takes how many are done."""


class _Side(NamedTuple):
    slices: tuple[DatasetSlice, ...]
    fp32: Observed


class Bench:
    """Tries candidates against the bundle's FP32 models, on the runtime's own CPU backend.

    Parameters
    ----------
    source
        The bundle with the FP32 models.
    parts
        The slices.
    limits
        Of the accuracy guard.
    dataset_sha256
        Of the dataset that the slices are of.
    stage
        Shows progress.
    """

    def __init__(
        self,
        source: Bundle,
        parts: Parts,
        limits: Mapping[str, float],
        dataset_sha256: str,
        stage: Stage,
    ) -> None:
        self.source = source
        self._parts = parts
        self._limits = dict(limits)
        self._dataset_sha256 = dataset_sha256
        self._stage = stage
        self._mask = source.manifest.thresholds.mask
        self._gate = source.manifest.thresholds.gate
        self._computed_by = ""
        with running(source, "fp32") as backend:
            self._selection, self._validation = (
                _Side(slices, self._observe(slices, backend, f"slices in fp32 ({what})"))
                for slices, what in (
                    (parts.selection, "training"),
                    (parts.validation, "validation"),
                )
            )

    def distances(self, models: Mapping[Role, bytes], precision: Precision) -> dict[Role, Distance]:
        """Measure how far candidates are from FP32 on the selection slices.

        INT8 is measured on the CPU backend and in the arithmetic that its files state; what is
        returned is the larger distance.
        """
        made, gate = trial(self.source.manifest, precision, models), self._gate
        found = {}
        for name in _ways(precision):
            with running(made, name=name) as backend:
                observed = observe(self._selection.slices, backend, self._mask)
            found[name] = distances(self._selection.fp32, observed, gate)
        return {role: farthest({name: one[role] for name, one in found.items()}) for role in models}

    def guard(self, models: Mapping[Role, bytes], precision: Precision) -> Verdict:
        """Ask the accuracy guard about candidates, on the validation slices."""
        made = trial(self.source.manifest, precision, models)
        verdicts = {}
        for name in _ways(precision):
            with running(made, name=name) as backend:
                if name == "cpu":
                    self._computed_by = f"cpu, {_listed(backend.describe())}"
                found = self._observe(
                    self._validation.slices, backend, f"slices in {precision}, {name} (validation)"
                )
            verdicts[name] = judge(
                self._validation.fp32, found, self.source.manifest.thresholds, self._limits
            )
        cpu, *others = verdicts.values()
        return cpu.joined(others[0], STATED) if others else cpu

    def evidence(self, verdict: Verdict) -> Guard:
        """Return what the manifest says of the guard."""
        return Guard(
            data=self._parts.said,
            dataset_sha256=self._dataset_sha256,
            patients=len({item.patient for item in self._validation.slices}),
            slices=len(self._validation.slices),
            backend=self._computed_by,
            limits=self._limits,
            measured=verdict.measured(),
            stated=verdict.measured(STATED) or None,
        )

    def parity(self, models: Mapping[Role, bytes], precision: Precision) -> dict[Role, Parity]:
        """Measure the largest difference of any output from FP32's, on the selection slices."""
        images = np.stack([preprocess(load_image(item))[0] for item in self._selection.slices])
        errors: dict[Role, list[float]] = {"classifier": [], "segmenter": []}
        same: dict[Role, list[bool]] = {"classifier": [], "segmenter": []}
        made = trial(self.source.manifest, precision, models)
        with running(self.source, "fp32") as fp32, running(made) as candidate:
            # A few at a time: both precisions' masks of all slices need not fit into memory.
            for at in range(0, len(images), _PARITY_AT_ONCE):
                part = images[at : at + _PARITY_AT_ONCE]
                self._compare(outputs_of(part, fp32), outputs_of(part, candidate), errors, same)
        patients = len({item.patient for item in self._selection.slices})
        return {
            role: Parity(
                reference=f"fp32 of this bundle, sha256 {self._sha256(role)[:12]}",
                slices=len(images),
                data=f"{patients} training patients that gave no ranges,"
                f" dataset sha256 {self._dataset_sha256[:12]}",
                max_abs_error=max(errors[role]),
                same_decision=float(np.mean(same[role])),
            )
            for role in models
        }

    def _compare(
        self,
        one: Outputs,
        other: Outputs,
        errors: dict[Role, list[float]],
        same: dict[Role, list[bool]],
    ) -> None:
        gate = self._gate
        errors["classifier"].append(_largest(one.probability, other.probability))
        errors["segmenter"].append(_largest(one.planes, other.planes))
        same["classifier"] += (
            (one.probability[:, 0] >= gate) == (other.probability[:, 0] >= gate)
        ).tolist()
        same["segmenter"] += [
            dice(a >= self._mask, b >= self._mask) >= SAME_MASK_DICE
            for a, b in zip(one.planes, other.planes, strict=True)
        ]

    def _observe(self, slices: tuple[DatasetSlice, ...], backend: Backend, unit: str) -> Observed:
        with self._stage(len(slices), unit) as update:
            return observe(slices, backend, self._mask, update)

    def _sha256(self, role: Role) -> str:
        return self.source.manifest.models[role]["fp32"].sha256


def _ways(precision: Precision) -> tuple[str, ...]:
    """Return what computes a precision: of FP16 the CPU makes nothing else than the file says."""
    return ("cpu", STATED) if precision == "int8" else ("cpu",)


def _largest(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    return float(np.abs(one - other).max())


def _listed(described: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in described.items())
