"""An ONNX graph that can be edited, without the onnx package.

Reads what an edit has to see (nodes, attributes, initializers) and keeps everything else as the
bytes it was: a node or a tensor that is not edited is written as it was read, and weights are
copied once, when the result is put together.

References
----------
Field numbers: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from scanside.onnxtensor import TENSOR_NAME, Tensor
from scanside.onnxvalue import Declared, declared
from scanside.protowire import (
    Chunk,
    damaged,
    encode_bytes,
    encode_packed,
    encode_varint,
    message,
    read_fields,
    read_packed,
    signed,
    text,
    text_field,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["Graph", "Node", "attribute", "make_node", "read_graph"]

_MODEL_GRAPH, _MODEL_FUNCTIONS = 7, 25
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_INPUT, _GRAPH_OUTPUT, _GRAPH_VALUE_INFO = 1, 5, 11, 12, 13
_GRAPH_SPARSE: Final = 15
_EDITED: Final = (_GRAPH_NODE, _GRAPH_INITIALIZER)
"""Fields that are written anew, all of them where the first was."""

_NODE_INPUT, _NODE_OUTPUT, _NODE_NAME, _NODE_OP, _NODE_ATTRIBUTE, _NODE_DOMAIN = 1, 2, 3, 4, 5, 7
_NAME: Final = 1
"""Of an attribute and of a value: its name."""

_ATTRIBUTE_GRAPHS: Final = {6, 11}
_ATTRIBUTE_FLOAT, _ATTRIBUTE_INT, _ATTRIBUTE_STRING, _ATTRIBUTE_INTS = 2, 3, 4, 8
_ATTRIBUTE_KIND: Final = 20
_KINDS: Final = {_ATTRIBUTE_INT: 2, _ATTRIBUTE_INTS: 7}
"""The kind of an attribute by the field that holds its value."""

_FLOAT: Final = struct.Struct("<f")

Value = int | float | bytes | tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Node:
    """A node of the graph; edit it with `dataclasses.replace`.

    Attributes
    ----------
    op_type, name, domain
        What it computes, what it is called, and whose operator it is; empty for ONNX's own.
    inputs, outputs
        Names of tensors; an input that is left out is an empty string.
    attributes
        Values by name: integers, floats, bytes and lists of integers; None for other kinds.
    rest
        All other fields, encoded: the attributes as they were read among them.
    nested
        Whether an attribute holds a graph.
    """

    op_type: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    name: str = ""
    domain: str = ""
    attributes: tuple[tuple[str, Value | None], ...] = ()
    rest: tuple[Chunk, ...] = ()
    nested: bool = False

    def get(self, attribute: str, default: Value | None = None) -> Value | None:
        """Return the value of an attribute, or the default where the node has none."""
        return dict(self.attributes).get(attribute, default)


@dataclass(slots=True)
class Graph:
    """A model's graph, with the model around it.

    Attributes
    ----------
    nodes
        In the order of the file, which is an order of computation.
    constants
        The initializers by name.
    inputs
        The graph's own inputs: by name what is declared of them.
    outputs
        Names of the graph's own outputs.
    nested
        Whether there are graphs in nodes, or functions: what a tensor is read by is not known
        from `nodes` alone then.
    """

    nodes: list[Node]
    constants: dict[str, Tensor]
    inputs: dict[str, Declared]
    outputs: tuple[str, ...]
    nested: bool
    _read: dict[int, tuple[Node, memoryview]]
    _graph: list[tuple[int, str, memoryview]]
    _model: list[tuple[int, memoryview]]

    def copy(self) -> Graph:
        """Return a graph that can be edited without changing this one."""
        return replace(self, nodes=list(self.nodes), constants=dict(self.constants))

    def encoded(self) -> bytes:
        """Return the model as the bytes of an ONNX file.

        What is declared of the types of tensors inside the graph is left out where a node that
        makes them was edited; ONNX infers it.
        """
        return b"".join(part for kind, whole in self._model for part in self._field(kind, whole))

    def _field(self, kind: int, whole: memoryview) -> tuple[Chunk, ...]:
        return encode_bytes(_MODEL_GRAPH, *self._body()) if kind == _MODEL_GRAPH else (whole,)

    def _body(self) -> list[Chunk]:
        nodes: list[Chunk] = []
        changed = {name for node, _ in self._read.values() for name in node.outputs}
        for node in self.nodes:
            read = self._read.get(id(node))
            if read is not None:
                changed.difference_update(node.outputs)
            nodes += (read[1],) if read else encode_bytes(_GRAPH_NODE, *_encode_node(node))
        constants = [
            part
            for tensor in self.constants.values()
            for part in encode_bytes(_GRAPH_INITIALIZER, *tensor.whole)
        ]
        body: list[Chunk] = []
        for number, name, whole in self._graph:
            if number == _GRAPH_NODE:
                body += nodes
            elif number == _GRAPH_INITIALIZER:
                body += constants
            elif number != _GRAPH_VALUE_INFO or name not in changed:
                body.append(whole)
        return body


def read_graph(content: bytes) -> Graph:
    """Read an ONNX file.

    Parameters
    ----------
    content
        The file's content; it may come from anyone, and has to outlive the graph.

    Raises
    ------
    BundleError
        If the bytes are no ONNX model with one graph.
    """
    fields = list(read_fields(memoryview(content)))
    graphs = [message(field.value) for field in fields if field.number == _MODEL_GRAPH]
    if len(graphs) != 1:
        raise damaged(f"it holds {len(graphs)} graphs")
    model = [(field.number, field.whole) for field in fields]
    nested = any(field.number == _MODEL_FUNCTIONS for field in fields)
    read: dict[int, tuple[Node, memoryview]] = {}
    nodes: list[Node] = []
    constants: dict[str, Tensor] = {}
    others: list[tuple[int, str, memoryview]] = []
    placed: set[int] = set()
    for number, value, whole in read_fields(graphs[0]):
        if number in _EDITED and number not in placed:
            placed.add(number)
            others.append((number, "", whole[:0]))
        if number == _GRAPH_NODE:
            node = _read_node(message(value))
            nodes.append(node)
            read[id(node)] = (node, whole)
        elif number == _GRAPH_INITIALIZER:
            tensor = Tensor(text_field(message(value), TENSOR_NAME), (message(value),))
            if tensor.name in constants:
                raise damaged(f"two tensors are named {tensor.name!r}")
            constants[tensor.name] = tensor
        else:
            named = number in {_GRAPH_INPUT, _GRAPH_OUTPUT, _GRAPH_VALUE_INFO}
            others.append((number, text_field(message(value), _NAME) if named else "", whole))
            nested |= number == _GRAPH_SPARSE
    # Where the file has none, those that an edit adds come last.
    others += [(number, "", graphs[0][:0]) for number in _EDITED if number not in placed]
    return Graph(
        nodes, constants,
        {name: declared(whole) for number, name, whole in others if number == _GRAPH_INPUT},
        tuple(name for number, name, _ in others if number == _GRAPH_OUTPUT),
        nested or any(node.nested for node in nodes),
        read, others, model,
    )  # fmt: skip


def make_node(
    op_type: str, inputs: Sequence[str], outputs: Sequence[str], name: str, *rest: Chunk
) -> Node:
    """Return a new node of ONNX's own operators.

    Parameters
    ----------
    op_type, inputs, outputs, name
        As the attributes of `Node`.
    *rest
        Encoded attributes; see `attribute`.
    """
    return Node(op_type, tuple(inputs), tuple(outputs), name, rest=rest)


def attribute(name: str, value: int | Iterable[int]) -> bytes:
    """Return an encoded attribute of a node that holds an integer, or a list of them."""
    field = _ATTRIBUTE_INT if isinstance(value, int) else _ATTRIBUTE_INTS
    held = encode_varint(field, value) if isinstance(value, int) else encode_packed(field, value)
    named = b"".join(encode_bytes(_NAME, name.encode()))
    kind = encode_varint(_ATTRIBUTE_KIND, _KINDS[field])
    return b"".join(encode_bytes(_NODE_ATTRIBUTE, named, held, kind))


def _read_node(body: memoryview) -> Node:
    texts: dict[int, list[str]] = {
        number: []
        for number in (_NODE_INPUT, _NODE_OUTPUT, _NODE_NAME, _NODE_OP, _NODE_DOMAIN)
    }  # fmt: skip
    attributes: list[tuple[str, Value | None]] = []
    rest: list[Chunk] = []
    nested = False
    for number, value, whole in read_fields(body):
        if number in texts:
            texts[number].append(text(value))
            continue
        rest.append(whole)
        if number == _NODE_ATTRIBUTE:
            held = message(value)
            attributes.append((text_field(held, _NAME), _value(held)))
            nested |= any(field.number in _ATTRIBUTE_GRAPHS for field in read_fields(held))
    single = {number: (found or [""])[-1] for number, found in texts.items()}
    return Node(
        single[_NODE_OP], tuple(texts[_NODE_INPUT]), tuple(texts[_NODE_OUTPUT]),
        single[_NODE_NAME], single[_NODE_DOMAIN], tuple(attributes), tuple(rest), nested,
    )  # fmt: skip


def _encode_node(node: Node) -> list[Chunk]:
    texts = [
        *((_NODE_INPUT, name) for name in node.inputs),
        *((_NODE_OUTPUT, name) for name in node.outputs),
        (_NODE_NAME, node.name),
        (_NODE_OP, node.op_type),
        *([(_NODE_DOMAIN, node.domain)] if node.domain else []),
    ]
    encoded = [part for number, text in texts for part in encode_bytes(number, text.encode())]
    return [*encoded, *node.rest]


def _value(body: memoryview) -> Value | None:
    """Return what an attribute holds: the one kind of value that it says it holds."""
    held: Value | None = None
    listed: list[int] = []
    for number, value, _ in read_fields(body):
        if number == _ATTRIBUTE_INT and isinstance(value, int):
            held = signed(value)
        elif number == _ATTRIBUTE_STRING and isinstance(value, memoryview):
            held = bytes(value)
        elif number == _ATTRIBUTE_FLOAT and isinstance(value, memoryview):
            if len(value) != _FLOAT.size:
                raise damaged(f"a float of {len(value)} bytes")
            held = float(_FLOAT.unpack(value)[0])
        elif number == _ATTRIBUTE_INTS:
            listed += [signed(value)] if isinstance(value, int) else read_packed(value)
    return tuple(listed) or held
