"""The graph that a CPU backend computes, derived from the file's by named rewrites.

The file's graph is the one that TensorRT wants. What a CPU computes fastest differs in details:
unsigned activations, a pool that pads by itself, a scaled image that is a transposed one. Every
rewrite is exact (bit-equal outputs with graph optimisation off) or approximate, and says so.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final, NamedTuple

from scanside.backends.rewrites.image import (
    pool_image_before_scaling,
    take_image_as_quantised,
    transpose_image_first,
)
from scanside.backends.rewrites.pooling import fold_pad_into_pool
from scanside.backends.rewrites.quantization import refine_nonnegative, unsign_activations
from scanside.onnxgraph import Graph, read_graph

if TYPE_CHECKING:
    from collections.abc import Callable

    from scanside.backends.cpufeatures import CpuFeatures

__all__ = ["REWRITES", "REWRITES_VERSION", "Derived", "Effect", "Rewrite", "derive"]

REWRITES_VERSION: Final = "1"
"""Raised with every change of what `derive` makes: graphs kept from before are not used then."""


class Effect(Enum):
    """What a rewrite does to the outputs, with graph optimisation off."""

    EXACT = "exact"
    """They stay bit-equal."""

    APPROXIMATE = "approximate"
    """They differ by what was rounded otherwise."""


class Rewrite(NamedTuple):
    """A rewrite of a graph.

    Attributes
    ----------
    name
        What it is called where it is reported.
    effect
        What it does to the outputs.
    summary
        What it does and why, in a sentence.
    apply
        Edits a graph in place and returns how many places it changed.
    """

    name: str
    effect: Effect
    summary: str
    apply: Callable[[Graph, CpuFeatures], int]

    @property
    def label(self) -> str:
        """The name and whether it is exact, for instance ``pad-into-pool (exact)``."""
        return f"{self.name} ({self.effect.value})"


REWRITES: Final = (
    Rewrite(
        "transposed-image",
        Effect.EXACT,
        "The uint8 image is transposed, not the four times larger float one.",
        transpose_image_first,
    ),
    Rewrite(
        "pooled-image",
        Effect.EXACT,
        "The image is pooled before it is scaled: sums of bytes are exact in float32.",
        pool_image_before_scaling,
    ),
    Rewrite(
        "quantised-image",
        Effect.EXACT,
        "The uint8 image is the quantised input; scaling and quantising it again is left out.",
        take_image_as_quantised,
    ),
    Rewrite(
        "pad-into-pool",
        Effect.EXACT,
        "A Pad with zeros in front of a MaxPool of values that are never negative is the"
        " pool's own padding.",
        fold_pad_into_pool,
    ),
    Rewrite(
        "fine-activations",
        Effect.APPROXIMATE,
        "Activations that are never negative become uint8 with zero point 0: twice the"
        " resolution in the same range, and the Relu is the quantisation itself. Without VNNI"
        " the scale is kept, so that dot products don't saturate within the range.",
        refine_nonnegative,
    ),
    Rewrite(
        "unsigned-activations",
        Effect.EXACT,
        "int8 activations become uint8, zero point 128, same scale: x86 multiplies unsigned"
        " by signed bytes.",
        unsign_activations,
    ),
)
"""All rewrites, in the order in which they are applied."""


class Derived(NamedTuple):
    """A derived model.

    Attributes
    ----------
    content
        An ONNX file.
    applied
        Labels of the rewrites that changed it.
    """

    content: bytes
    applied: tuple[str, ...]


def derive(content: bytes, cpu: CpuFeatures) -> Derived:
    """Derive the graph that a CPU computes from a bundle's.

    Parameters
    ----------
    content
        The ONNX file's content.
    cpu
        The processor's features.

    Returns
    -------
    Derived
        The very `content`, and nothing applied, where no rewrite fits.

    Raises
    ------
    BundleError
        If the bytes are no ONNX model.
    """
    graph = read_graph(content)
    if graph.nested:
        return Derived(content, ())
    applied = tuple(rewrite.label for rewrite in REWRITES if rewrite.apply(graph, cpu))
    return Derived(graph.encoded() if applied else content, applied)
