"""What an engine depends on, and whether one fits a device: what differs is said in words."""

from __future__ import annotations

import hashlib
from typing import Annotated, Final, Literal, NamedTuple

import msgspec

from scanside.contract import Precision  # noqa: TC001 - msgspec reads it
from scanside.fields import Part, Positive, Sha256

__all__ = ["ANY_GPU", "IMPLICIT", "EngineKey", "Runtime", "Wanted", "differences", "fits"]

ANY_GPU: Final = "any"
"""The name of the GPU in an engine that was built for compute capabilities, not for one GPU."""

IMPLICIT: Final = "calibration_images_sha256"
"""The setting of an INT8 engine whose ranges TensorRT chose: the slices that it chose them from."""

VERSION_COMPATIBLE: Final = "version_compatible"
AMPERE_PLUS: Final = "8.0+"
"""A compute capability and all that came after it, as ``HardwareCompatibilityLevel`` has it."""

Runtime = Literal["tensorrt", "tensorrt_rtx"]

_NAMES: Final[dict[Runtime, str]] = {"tensorrt": "TensorRT", "tensorrt_rtx": "TensorRT-RTX"}


class EngineKey(Part, frozen=True, kw_only=True):
    """Everything that an engine depends on.

    Attributes
    ----------
    model_sha256
        Hash of the bundle's model file.
    runtime, runtime_version
        The library that built it, and its version as it gives it.
    gpu_name
        The device's name as CUDA gives it; ``any`` where it was built for compute capabilities.
    compute_capability
        For instance ``8.7``, or ``8.6,12.0`` for each of several, or ``8.0+``.
    precision
        Of the model.
    profile
        Smallest, best and largest batch.
    settings
        All other settings of the builder, as text by name.
    """

    model_sha256: Sha256
    runtime: Runtime
    runtime_version: Annotated[str, msgspec.Meta(min_length=1)]
    gpu_name: Annotated[str, msgspec.Meta(min_length=1)]
    compute_capability: Annotated[str, msgspec.Meta(pattern=r"^\d+\.\d+((,\d+\.\d+)*|\+)$")]
    precision: Precision
    profile: tuple[Positive, Positive, Positive]
    settings: dict[str, str] = msgspec.field(default_factory=dict)

    def __post_init__(self) -> None:
        low, best, high = self.profile
        if not low <= best <= high:
            raise ValueError(f"profile {self.profile} is not smallest, best and largest batch")

    @property
    def digest(self) -> str:
        """The engine's file name without its suffix: another one as soon as anything differs."""
        return hashlib.sha256(msgspec.json.encode(self, order="sorted")).hexdigest()


class Wanted(NamedTuple):
    """What an engine is looked for.

    Attributes
    ----------
    model_sha256, runtime, runtime_version, precision
        As in `EngineKey`.
    gpu_name, compute_capability
        Those of the device, for instance ``Orin`` and ``8.7``.
    batch
        A number of slices that the engine has to take at once.
    """

    model_sha256: str
    runtime: Runtime
    runtime_version: str
    gpu_name: str
    compute_capability: str
    precision: Precision
    batch: int = 1

    @classmethod
    def of(cls, key: EngineKey) -> Wanted:
        """Return what an engine of this very key fits."""
        return cls(
            key.model_sha256, key.runtime, key.runtime_version, key.gpu_name,
            key.compute_capability.split(",")[0].rstrip("+"), key.precision, key.profile[1],
        )  # fmt: skip

    @property
    def label(self) -> str:
        """What is looked for, in a few words."""
        return (
            f"model {self.model_sha256[:12]} in {self.precision} with {_NAMES[self.runtime]}"
            f" {self.runtime_version} on {self.gpu_name} ({self.compute_capability})"
        )


def fits(key: EngineKey, wanted: Wanted) -> bool:
    """Say whether an engine may be loaded where it is wanted."""
    return not differences(key, wanted)


def differences(key: EngineKey, wanted: Wanted) -> list[str]:
    """Say what of an engine does not fit, most important first; nothing if it fits.

    Parameters
    ----------
    key
        The engine's.
    wanted
        What is looked for.
    """
    found = []
    if key.model_sha256 != wanted.model_sha256:
        found.append(
            f"built from another model ({key.model_sha256[:12]}, not {wanted.model_sha256[:12]})"
        )
    if key.precision != wanted.precision:
        found.append(f"built in {key.precision}, not {wanted.precision}")
    if key.runtime != wanted.runtime:
        found.append(f"built by {_NAMES[key.runtime]}, not {_NAMES[wanted.runtime]}")
    elif not _version_fits(key, wanted.runtime_version):
        found.append(
            f"built by {_NAMES[key.runtime]} {key.runtime_version}, here is"
            f" {wanted.runtime_version}"
        )
    if not _device_fits(key, wanted):
        found.append(
            f"built for {_device(key.gpu_name, key.compute_capability)}, here is"
            f" {_device(wanted.gpu_name, wanted.compute_capability)}"
        )
    low, _, high = key.profile
    if not low <= wanted.batch <= high:
        found.append(f"takes {low} to {high} slices at once, not {wanted.batch}")
    return found


def _version_fits(key: EngineKey, version: str) -> bool:
    """Whether a library may load it: its own version, or a later minor one where that was asked.

    References
    ----------
    TensorRT Developer Guide, "Version Compatibility".
    """
    if key.runtime_version == version:
        return True
    if key.settings.get(VERSION_COMPATIBLE) != "yes":
        return False
    built, here = _numbers(key.runtime_version), _numbers(version)
    return built[:1] == here[:1] and here >= built


def _device_fits(key: EngineKey, wanted: Wanted) -> bool:
    if key.gpu_name not in {ANY_GPU, wanted.gpu_name}:
        return False
    if key.compute_capability.endswith("+"):
        return _numbers(wanted.compute_capability) >= _numbers(key.compute_capability[:-1])
    return wanted.compute_capability in key.compute_capability.split(",")


def _device(name: str, capability: str) -> str:
    return f"compute capability {capability}" if name == ANY_GPU else f"{name} ({capability})"


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())
