"""The graph that a CPU backend computes, derived from the file's by named rewrites.

The file's graph is the one that TensorRT wants. What a CPU computes fastest differs in details:
unsigned activations, a pool that pads by itself, a scaled image that is a transposed one. Every
rewrite says whether it is exact (bit-equal outputs with graph optimisation off), exact in
integers, or approximate.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final, NamedTuple

from scanside.backends.derivation import INTEGER_PRODUCT
from scanside.backends.rewrites.averaging import average_in_integers
from scanside.backends.rewrites.image import (
    pool_image_before_scaling,
    take_image_as_quantised,
    transpose_image_first,
)
from scanside.backends.rewrites.matrix import multiply_in_integers
from scanside.backends.rewrites.packing import pack_pixels
from scanside.backends.rewrites.pooling import fold_pad_into_pool
from scanside.backends.rewrites.quantization import (
    refine_nonnegative,
    round_once,
    unsign_activations,
)
from scanside.onnxgraph import Graph, read_graph

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from scanside.backends.cpufeatures import CpuFeatures

__all__ = [
    "FOR_ONNX_RUNTIME",
    "FOR_OPENVINO",
    "REWRITES",
    "Derived",
    "Effect",
    "Rewrite",
    "derive",
]


class Effect(Enum):
    """What a rewrite does to the outputs."""

    EXACT = "exact"
    """They stay bit-equal, with graph optimisation off."""

    EXACT_IN_INTEGERS = "exact in integers"
    """They stay bit-equal where convolutions are computed in integers, as an optimised session
    does. With optimisation off it computes them in float, and the same terms in another order."""

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
"""Those that every library gains by, in the order in which they are applied."""

FOR_ONNX_RUNTIME: Final = (
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
    *REWRITES,
    Rewrite(
        "packed-pixels",
        Effect.EXACT_IN_INTEGERS,
        "The first convolution reads four pixels of three channels as one of twelve, which is"
        " what they are in memory: integer convolutions take channels by fours.",
        pack_pixels,
    ),
    Rewrite(
        "averaged-image",
        Effect.EXACT,
        "The uint8 image is averaged by an integer convolution; scaling and quantising fall away.",
        average_in_integers,
    ),
    Rewrite(
        INTEGER_PRODUCT,
        Effect.APPROXIMATE,
        "The product of the features and the weights is one of integers, exact, where float"
        " rounds every sum: a slice's output does not depend on those beside it.",
        multiply_in_integers,
    ),
)
"""ONNX Runtime's kernels gain by the others too. OpenVINO loses by them: it puts the image's
channels last by itself, and takes the first convolution for one of floats where the image comes
to it as integers that nobody has quantised (a twentieth of the classifier and of the segmenter)."""

FOR_OPENVINO: Final = (
    *REWRITES,
    Rewrite(
        "rounded-once",
        Effect.EXACT,
        "What a MaxPool or a Concat passes on was rounded by these numbers already: rounding"
        " again is left out, which OpenVINO would do in front of it, on a second float copy.",
        round_once,
    ),
)
"""ONNX Runtime needs the second pair to see that a Concat or a MaxPool is one of integers."""


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


def derive(content: bytes, cpu: CpuFeatures, rewrites: Sequence[Rewrite]) -> Derived:
    """Derive the graph that a CPU computes from a bundle's.

    Parameters
    ----------
    content
        The ONNX file's content.
    cpu
        The processor's features.
    rewrites
        `FOR_ONNX_RUNTIME` or `FOR_OPENVINO`.

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
    applied = tuple(rewrite.label for rewrite in rewrites if rewrite.apply(graph, cpu))
    return Derived(graph.encoded() if applied else content, applied)
