"""Kinds of activations whose ranges are chosen apart: what a residual sum is made of, and the rest.

A residual sum is rounded at every block and read by every later one, so that what rounding does to
it adds up, and a channel that hardly varies is rounded the same way in every slice. The method
that fits the inside of a block best need not fit its sums.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scanside_calibration.int8.placement import activations
from scanside_calibration.int8.topology import Topology

if TYPE_CHECKING:
    from onnx import ModelProto

__all__ = ["kinds"]


def kinds(model: ModelProto) -> dict[str, frozenset[str]]:
    """Return the activations by kind, where there is more than one.

    Parameters
    ----------
    model
        A float ONNX model.

    Returns
    -------
    dict
        ``sums``: what an Add makes, through a Relu or not. ``branches``: what else an Add reads.
        ``others``: all others. Kinds without a member are left out; nothing at all for a model
        without residual sums.
    """
    topology = Topology(model)
    found: dict[str, set[str]] = {"sums": set(), "branches": set(), "others": set()}
    for name in activations(model):
        node = topology.producers[name]
        if node.op_type == "Relu" and node.input[0] in topology.producers:
            node = topology.producers[node.input[0]]
        if node.op_type == "Add":
            kind = "sums"
        elif any(reader.op_type == "Add" for reader in topology.readers[name]):
            kind = "branches"
        else:
            kind = "others"
        found[kind].add(name)
    held = {kind: frozenset(names) for kind, names in found.items() if names}
    return held if len(held) > 1 else {}
