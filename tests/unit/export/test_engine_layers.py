"""Layers out of logs and inspectors of several versions."""

from __future__ import annotations

import json

from fake_tensorrt import RTX_LINE, TRT_LAYERS
from scanside_export.engine.exchange import Layer
from scanside_export.engine.layers import from_inspector, from_log, problems, summary


def test_the_log_gives_layers_datatypes_nodes_and_memory() -> None:
    layers, memory = from_log(
        [
            RTX_LINE.format(name="block/Conv"),
            "Name: wait_1, LayerType: wait, Inputs: [], Constants: [], Outputs: [], TacticName: ,"
            " StreamId: 1, EventId: 1, Metadata: ",
            "Total Activation Memory: 28090368 bytes",
            "Total Weights Memory: 100 bytes",
        ]
    )
    assert layers[0] == Layer(
        name="block/Conv_myl0_1", kind="correlation", inputs=("Int8",), outputs=("Half",),
        tactic="stub", nodes=("block/Conv", "relu"),
    )  # fmt: skip
    assert memory == {"activations": 28090368, "weights": 100}
    assert summary(layers) == {"convolution Int8 -> Half": 1}


def test_the_inspector_gives_the_same() -> None:
    layers = from_inspector(json.dumps({"Layers": TRT_LAYERS, "Bindings": []}))
    assert [(layer.kind, layer.inputs, layer.outputs) for layer in layers] == [
        ("Convolution", ("Int8",), ("Half",)),
        ("Convolution", ("Float",), ("Float",)),
    ]
    assert layers[0].nodes == ("conv1", "relu")


def test_without_metadata_fused_layers_are_named_by_their_nodes() -> None:
    entry = {key: value for key, value in TRT_LAYERS[0].items() if key != "Metadata"}
    assert from_inspector(json.dumps({"Layers": [entry]}))[0].nodes == ("conv1", "relu")


def test_unsigned_is_not_taken_for_signed() -> None:
    entry = {"Name": "cast", "LayerType": "kgen", "Inputs": [{"Datatype": "UInt8"}], "Outputs": []}
    assert from_inspector(json.dumps({"Layers": [entry]}))[0].inputs == ("UInt8",)


def test_a_node_that_was_meant_to_be_int8_and_is_not_is_named() -> None:
    layers = from_inspector(json.dumps({"Layers": TRT_LAYERS}))
    assert problems(layers, ["conv1"], no_float=False) == ()
    assert problems(layers, ["conv1", "conv2", "gone"], no_float=True) == (
        "conv2 was meant to be INT8 and computes in Float",
        "gone was meant to be INT8 and is in no layer by its name",
        "conv2 is a convolution that writes Float",
    )


def test_names_alone_prove_nothing_and_that_is_said() -> None:
    layers = from_inspector(json.dumps({"Layers": ["conv1 + relu", "conv2"]}))
    assert "is not known" in problems(layers, ["conv1"], no_float=True)[0]
    assert problems(layers, [], no_float=False) == ()
