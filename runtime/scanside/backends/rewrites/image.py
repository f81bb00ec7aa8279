"""The way of the uint8 image into the graph."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from scanside.backends.rewrites.topology import (
    Topology,
    add_constant,
    fresh_name,
    is_op,
    remove_unread,
)
from scanside.onnxtensor import FLOAT, UINT8

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scanside.backends.cpufeatures import CpuFeatures
    from scanside.onnxgraph import Graph, Node

__all__ = [
    "Scaling",
    "exchange",
    "find_scaling",
    "pool_image_before_scaling",
    "pools_exactly",
    "take_image_as_quantised",
    "transpose_image_first",
]

_BYTES: Final = 256
_EXACT_INTEGERS: Final = 1 << 24
"""float32 holds every integer up to here."""

_MIDDLE: Final = 128


class Scaling(NamedTuple):
    """Cast, Mul and Add of constants, one behind the other; an AveragePool behind the Cast."""

    cast: Node
    multiply: Node
    add: Node
    factor: np.float32
    offset: np.float32
    pool: Node | None


def transpose_image_first(graph: Graph, cpu: CpuFeatures) -> int:  # noqa: ARG001
    """Move the Transpose in front of the scaling: values are scaled one by one."""
    topology = Topology(graph)
    for node in graph.nodes:
        scaling = find_scaling(node, topology)
        if scaling is None:
            continue
        transpose = topology.sole_reader(scaling.add, "Transpose")
        if transpose is not None:
            return _move_first(graph, scaling, transpose)
    return 0


def pool_image_before_scaling(graph: Graph, cpu: CpuFeatures) -> int:  # noqa: ARG001
    """Move an AveragePool between the Cast and the scaling.

    With a window of 2^n values, a factor of 2^-m and an offset that is a whole multiple of it,
    no sum is rounded in either order.
    """
    topology = Topology(graph)
    for node in graph.nodes:
        scaling = find_scaling(node, topology)
        pool = None if scaling is None else topology.sole_reader(scaling.add, "AveragePool")
        if scaling is not None and pool is not None and pools_exactly(pool, scaling):
            return _move_pool(graph, scaling, pool)
    return 0


def take_image_as_quantised(graph: Graph, cpu: CpuFeatures) -> int:  # noqa: ARG001
    """Leave out scaling and quantising where they make of every byte x the int8 x - 128."""
    topology = Topology(graph)
    for node in graph.nodes:
        scaling = find_scaling(node, topology)
        quantize = None if scaling is None else topology.sole_reader(scaling.add, "QuantizeLinear")
        pair = None if quantize is None else topology.pair(quantize)
        if scaling is None or pair is None:
            continue
        signed = pair.zero_point.dtype == np.int8 and pair.zero_point == 0
        if not signed or not _is_identity(scaling, pair.scale):
            continue
        zero_point = add_constant(graph, "image/zero_point", np.array(_MIDDLE, np.uint8))
        source = scaling.cast.inputs[0]
        behind = {
            id(each): replace(each, inputs=(source, each.inputs[1], zero_point))
            for each in pair.dequantize
        }
        gone = {id(each) for each in (*scaling[:3], pair.quantize)}
        graph.nodes[:] = [
            behind.get(id(each), each) for each in graph.nodes if id(each) not in gone
        ]
        read = (*scaling.multiply.inputs, *scaling.add.inputs, *pair.quantize.inputs)
        remove_unread(graph, {*read, *(name for each in pair.dequantize for name in each.inputs)})
        return 1
    return 0


def find_scaling(cast: Node, topology: Topology, *, pooled: bool = False) -> Scaling | None:
    """Return the scaling of the image that begins with this node, if one does."""
    if not is_op(cast, "Cast") or cast.get("to") != FLOAT or not _is_image(cast, topology):
        return None
    pool = topology.sole_reader(cast, "AveragePool")
    if (pool is not None) != pooled:
        return None
    multiply = topology.sole_reader(cast if pool is None else pool, "Mul")
    add = None if multiply is None else topology.sole_reader(multiply, "Add")
    if multiply is None or add is None:
        return None
    factor = _operand(multiply, (cast if pool is None else pool).outputs[0], topology)
    offset = _operand(add, multiply.outputs[0], topology)
    if factor is None or offset is None:
        return None
    return Scaling(cast, multiply, add, factor, offset, pool)


def _is_image(cast: Node, topology: Topology) -> bool:
    """Return whether a node reads the graph's uint8 input, as it is or transposed."""
    transpose = topology.producer(cast.inputs[0], "Transpose")
    source = cast.inputs[0] if transpose is None else transpose.inputs[0]
    declared = topology.graph.inputs.get(source)
    return declared is not None and declared.element == UINT8


def _operand(node: Node, computed: str, topology: Topology) -> np.float32 | None:
    """Return the constant that a node adds or multiplies with; float32, of one value."""
    others = [name for name in node.inputs if name != computed]
    value = topology.scalar(others[0]) if len(others) == 1 else None
    return value if isinstance(value, np.float32) and np.isfinite(value) else None


def _move_first(graph: Graph, scaling: Scaling, transpose: Node) -> int:
    image = scaling.cast.inputs[0]
    turned = fresh_name(graph, f"{image}/transposed")
    moved = {
        id(scaling.cast): (
            replace(transpose, inputs=(image,), outputs=(turned,)),
            replace(scaling.cast, inputs=(turned,)),
        ),
        id(scaling.multiply): (replace(scaling.multiply),),
        id(scaling.add): (replace(scaling.add, outputs=transpose.outputs),),
        id(transpose): (),
    }
    exchange(graph, moved)
    return 1


def _move_pool(graph: Graph, scaling: Scaling, pool: Node) -> int:
    pooled = fresh_name(graph, f"{scaling.cast.outputs[0]}/pooled")
    before = {scaling.cast.outputs[0]: pooled}
    multiply = replace(
        scaling.multiply, inputs=tuple(before.get(name, name) for name in scaling.multiply.inputs)
    )
    moved = {
        id(scaling.cast): (
            scaling.cast,
            replace(pool, inputs=scaling.cast.outputs, outputs=(pooled,)),
        ),
        id(scaling.multiply): (multiply,),
        id(scaling.add): (replace(scaling.add, outputs=pool.outputs),),
        id(pool): (),
    }
    exchange(graph, moved)
    return 1


def exchange(graph: Graph, moved: Mapping[int, tuple[Node, ...]]) -> None:
    """Put other nodes in the place of those with these identities."""
    graph.nodes[:] = [made for node in graph.nodes for made in moved.get(id(node), (node,))]


def pools_exactly(pool: Node, scaling: Scaling) -> bool:
    """Return whether pooling before and after the scaling gives equal bits."""
    kernel, pads = pool.get("kernel_shape"), pool.get("pads", (0,))
    if not isinstance(kernel, tuple) or not isinstance(pads, tuple) or any(pads):
        return False
    if pool.get("auto_pad", b"NOTSET") != b"NOTSET" or pool.get("ceil_mode", 0):
        return False
    if not _is_power_of_two(math.prod(kernel)) or not _is_power_of_two(abs(scaling.factor)):
        return False
    steps = float(scaling.offset) / float(scaling.factor)
    largest = math.prod(kernel) * (_BYTES + abs(steps))
    return steps.is_integer() and largest <= _EXACT_INTEGERS


def _is_power_of_two(value: float) -> bool:
    return value > 0 and math.frexp(float(value))[0] == 0.5  # noqa: PLR2004 - its mantissa


def _is_identity(scaling: Scaling, scale: np.float32) -> bool:
    """Return whether every byte x is quantised to x - 128: all of them are tried."""
    pixels = np.arange(_BYTES, dtype=np.float32)
    quantised = np.rint((pixels * scaling.factor + scaling.offset) / scale)
    return bool(np.array_equal(quantised, pixels - _MIDDLE))
