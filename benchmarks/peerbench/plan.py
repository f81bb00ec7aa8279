"""The cases of a run, in the order of a round."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = [
    "BACKENDS",
    "KERAS",
    "NNCF",
    "PEERS",
    "USUAL",
    "Peer",
    "Product",
    "alternating",
    "products",
]

BACKENDS: Final = ("cpu", "openvino")
"""scanside's backends that run on a CPU."""


class Peer(Struct, frozen=True, kw_only=True):
    """A script of somebody who uses a library directly.

    Attributes
    ----------
    name
        Short name, and the letter of the comparison that it belongs to.
    label
        What a table calls it.
    module
        The script.
    models
        Which of the prepared models.
    options
        What the script is told.
    latency
        How many single slices are timed of each class, over all rounds: ``many`` where a 99th
        percentile is wanted, ``few`` for a median, ``none``.
    """

    name: str
    label: str
    module: str
    models: Literal["keras", "onnx", "nncf"]
    options: dict[str, str] = {}
    latency: Literal["many", "few", "none"] = "few"


class Product(Struct, frozen=True, kw_only=True):
    """scanside itself in one precision on one backend.

    Attributes
    ----------
    precision, backend
        As on the command line.
    bundle
        The bundle that holds the precision.
    """

    precision: Literal["int8", "fp32"]
    backend: str
    bundle: str

    @property
    def name(self) -> str:
        """Short name."""
        return f"scanside-{self.precision}-{self.backend}"

    @property
    def label(self) -> str:
        """What a table calls it."""
        return f"(e) scanside {self.precision.upper()}, {self.backend}"


KERAS: Final = ("keras-1", "keras-32")
USUAL: Final = "keras-usual"
"""Not a peer on the same models: what the usual notebook's own models cost in Keras."""

NNCF: Final = ("openvino-nncf", "openvino-nncf-lanes")

PEERS: Final = (
    Peer(
        name="keras-1",
        label="(a) Keras predict, batch 1",
        module="cases.keras_predict",
        models="keras",
        options={"batch": "1"},
    ),
    Peer(
        name="keras-32",
        label="(a) Keras predict, batch 32",
        module="cases.keras_predict",
        models="keras",
        options={"batch": "32"},
        latency="none",
    ),
    Peer(
        name="ort-fp32",
        label="(b) ONNX Runtime FP32, plain script",
        module="cases.ort_plain",
        models="onnx",
    ),
    Peer(
        name="openvino-fp32",
        label="(c) OpenVINO FP32, f32 hint",
        module="cases.openvino_plain",
        models="onnx",
        options={"precision": "f32"},
    ),
    Peer(
        name="openvino-default",
        label="(c) OpenVINO FP32, its own choice of arithmetic",
        module="cases.openvino_plain",
        models="onnx",
    ),
    Peer(
        name="openvino-nncf",
        label="(d) OpenVINO, NNCF INT8",
        module="cases.openvino_plain",
        models="nncf",
        latency="many",
    ),
    Peer(
        name="openvino-nncf-lanes",
        label="(d) OpenVINO, NNCF INT8, a stream a core",
        module="cases.openvino_plain",
        models="nncf",
        options={"lanes": "cores"},
        latency="none",
    ),
)
"""What scanside is compared with. ``cores`` becomes their number."""


def products(int8: str, fp32: str, absent: Iterable[str]) -> list[Product]:
    """Return scanside's own cases.

    Parameters
    ----------
    int8, fp32
        The bundles.
    absent
        Backends that are not there.
    """
    missing = set(absent)
    here = [backend for backend in BACKENDS if backend not in missing]
    return [
        *(Product(precision="fp32", backend=backend, bundle=fp32) for backend in here),
        *(Product(precision="int8", backend=backend, bundle=int8) for backend in here),
    ]


def alternating(segmented: Sequence[int], skipped: Sequence[int], each: int) -> tuple[int, ...]:
    """Return slices of both classes by turns, each class going round as often as is needed.

    Parameters
    ----------
    segmented, skipped
        Indices of the slices of each class; at least one of each.
    each
        How many of each class.

    Raises
    ------
    ValueError
        If a class is empty.
    """
    if not segmented or not skipped:
        raise ValueError(
            f"{len(segmented)} slices pass the gate and {len(skipped)} do not: both are needed"
        )
    return tuple(
        index
        for turn in range(each)
        for index in (segmented[turn % len(segmented)], skipped[turn % len(skipped)])
    )
