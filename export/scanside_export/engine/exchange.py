"""What the parent asks of the child process that builds, and what it hears of it."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from scanside.contract import Precision  # noqa: TC001 - msgspec reads annotations
from scanside.fields import Count, Part, Positive

__all__ = [
    "CAPABILITIES",
    "Built",
    "Calibration",
    "Device",
    "Event",
    "Failed",
    "Found",
    "Layer",
    "Progress",
    "Request",
    "Said",
    "Settings",
    "Target",
]

Target = Literal["trt", "rtx"]
Hardware = Literal["none", "same", "ampere+"]

_MIB: Final = 1 << 20
_SHARE: Final = 4
"""A quarter of an integrated device's memory each, for kernels and for trying them. The library's
own limit for trying is three quarters, and the memory is the host's as well.

References
----------
TensorRT API, ``MemoryPoolType::kTACTIC_DRAM``: 75 % of memory on embedded devices.
"""

CAPABILITIES: Final = ("7.5", "8.0", "8.6", "8.9", "12.0", "12.1")
"""The compute capabilities that TensorRT-RTX 1.7 compiles for, as its ``ComputeCapability``
lists them; a version that lacks one says so when it is asked."""


class Settings(Part, frozen=True, kw_only=True):
    """How to build.

    Attributes
    ----------
    target
        ``trt`` for TensorRT on this device, ``rtx`` for TensorRT-RTX ahead of time.
    precision
        Of the models.
    profile
        Smallest, best and largest batch.
    rest
        What computes around INT8 where types come from the graph.
    level
        The builder's optimisation level, 0 to 5.
    workspace, tactic_dram
        MiB; none for the library's own limit.
    hardware
        Which other GPUs of TensorRT may load the engine.
    version_compatible
        Whether later minor versions may load it.
    capabilities
        Compute capabilities to compile for, TensorRT-RTX only.
    tf32
        Whether FP32 may be computed in TF32.
    """

    target: Target
    precision: Precision
    profile: tuple[Positive, Positive, Positive]
    rest: Literal["fp16", "fp32"] = "fp16"
    level: Annotated[int, Meta(ge=0, le=5)] = 3
    workspace: Positive | None = None
    tactic_dram: Positive | None = None
    hardware: Hardware = "none"
    version_compatible: bool = False
    capabilities: tuple[str, ...] = ()
    tf32: bool = False

    def capped(self, device: Device | None) -> Settings:
        """Return settings that leave a device memory which it shares with its host.

        Parameters
        ----------
        device
            The one that builds; limits that were given stay as they are, and so does everything
            on a device with memory of its own.
        """
        if device is None or not device.integrated:
            return self
        share = max(device.memory // _SHARE // _MIB, 1)
        return msgspec.structs.replace(
            self,
            workspace=self.workspace or share,
            tactic_dram=self.tactic_dram or share,
        )

    def as_text(self) -> dict[str, str]:
        """Return what an engine's key holds of the settings beyond its own fields."""
        said = {
            "level": str(self.level),
            "workspace_mib": str(self.workspace or "default"),
            "tactic_dram_mib": str(self.tactic_dram or "default"),
            "hardware": self.hardware,
            "version_compatible": "yes" if self.version_compatible else "no",
            "tf32": "yes" if self.tf32 else "no",
        }
        return said | ({"rest": self.rest} if self.precision == "int8" else {})


class Calibration(Part, frozen=True, kw_only=True):
    """Files of an implicit calibration.

    Attributes
    ----------
    images
        The prepared slices.
    cache
        Where the ranges of an earlier one are, if there are any, and where to write them.
    """

    images: str
    cache: str


class Request(Part, frozen=True, kw_only=True):
    """One engine to build; paths are those of files in a scratch folder.

    Attributes
    ----------
    settings
        How.
    typed
        The ONNX file whose types are those of the engine, for strongly typed networks.
    flagged
        The ONNX file for libraries that take the precision from flags.
    plan
        Where to write the engine.
    timing
        Where the timing cache is, if there is one, and where to write it.
    calibration
        From what the library shall choose INT8 ranges; none where they are in the model.
    """

    settings: Settings
    typed: str
    flagged: str
    plan: str
    timing: str
    calibration: Calibration | None = None


class Device(Part, frozen=True, kw_only=True):
    """The GPU that builds."""

    name: str
    capability: str
    memory: Count
    integrated: bool


class Found(Part, frozen=True, kw_only=True, tag=True):
    """The library in the child process, and the device where it needs one."""

    version: str
    device: Device | None = None


class Progress(Part, frozen=True, kw_only=True, tag=True):
    """How far the build is, 0 to 1, and in which phase."""

    done: float
    phase: str


class Said(Part, frozen=True, kw_only=True, tag=True):
    """A warning or an error of the library's log."""

    error: bool
    text: str


class Layer(Part, frozen=True, kw_only=True):
    """A kernel, or another step, of an engine.

    Attributes
    ----------
    name, kind, tactic
        As the library calls them.
    inputs, outputs
        Datatypes of the tensors it reads and writes: ``Int8``, ``Half``, ``Float``, ...
    nodes
        The ONNX nodes that it computes, or a part of.
    """

    name: str
    kind: str
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    tactic: str = ""
    nodes: tuple[str, ...] = ()


class Built(Part, frozen=True, kw_only=True, tag=True):
    """A finished engine.

    Attributes
    ----------
    seconds
        That the build took.
    strongly_typed
        Whether types came from the graph.
    layers
        Its layers; empty where the library told nothing of them.
    memory
        Bytes by what they are for, as far as the library says.
    notes
        What has to be said of how it was built.
    """

    seconds: float
    strongly_typed: bool
    layers: tuple[Layer, ...]
    memory: dict[str, Count]
    notes: tuple[str, ...] = ()


class Failed(Part, frozen=True, kw_only=True, tag=True):
    """An error of the child's own.

    Attributes
    ----------
    kind
        ``missing`` (a package), ``backend`` (the library or the device) or ``model``.
    given, remedy
        For the error's message.
    """

    kind: Literal["missing", "backend", "model"]
    given: str
    remedy: str = ""


Event = Found | Progress | Said | Built | Failed
