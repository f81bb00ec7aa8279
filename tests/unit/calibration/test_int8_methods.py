from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest

import residual
from scanside.errors import BundleError, InputError
from scanside_calibration.int8.methods import Method, calibrate
from scanside_calibration.int8.placement import activations, quantise
from scanside_calibration.int8.ties import IMAGE_AMAX, image_tensors, tie
from scanside_calibration.ranges import measure_ranges

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

MODEL = residual.build()
BATCHES = [residual.images(3, seed) for seed in range(4)]
FOUND = calibrate(MODEL, BATCHES)


def test_every_method_gives_every_activation_a_range() -> None:
    assert set(FOUND) == set(Method)
    for amax in FOUND.values():
        assert tuple(amax) == activations(MODEL)
        assert all(np.isfinite(value) and value > 0 for value in amax.values())
        quantise(MODEL, amax)


def test_max_is_the_largest_magnitude() -> None:
    ranges = measure_ranges(MODEL, BATCHES)
    for name in ("stem/r", "a/r", "b/y", "block", "join/r", "flat"):
        assert FOUND[Method.MAX][name] >= ranges[name].largest
    assert FOUND[Method.MAX]["join/r"] == ranges["join/r"].largest


def test_no_method_exceeds_max_and_percentiles_are_ordered() -> None:
    for name, top in FOUND[Method.MAX].items():
        ordered = [FOUND[method][name] for method in (
            Method.PERCENTILE_99_9, Method.PERCENTILE_99_99, Method.PERCENTILE_99_999, Method.MAX,
        )]  # fmt: skip
        assert ordered == sorted(ordered)
        for amax in FOUND.values():
            assert amax[name] <= top * (1 + 1e-6)


def test_the_image_has_the_scale_1_128_in_every_method() -> None:
    for amax in FOUND.values():
        assert np.float32(amax["nchw"] / 127) == np.float32(1 / 128)


def test_what_passes_values_on_has_its_sources_range() -> None:
    for amax in FOUND.values():
        assert amax["stem/r"] == amax["padded"] == amax["pooled"]
        assert amax["stem/r"] == amax["both"] == amax["up"] == amax["block"]


def test_one_method_alone_gives_the_same() -> None:
    for method in (Method.MAX, Method.MSE):
        assert calibrate(MODEL, BATCHES, [method]) == {method: FOUND[method]}


def test_a_function_of_batches_is_called_once_a_pass() -> None:
    calls: list[int] = []
    passes: list[tuple[int, int]] = []

    def fresh() -> Iterator[NDArray[np.uint8]]:
        calls.append(1)
        yield from BATCHES

    found = calibrate(MODEL, fresh, progress=lambda at, done: passes.append((at, done)))
    assert found == FOUND
    assert len(calls) == 2
    assert passes == [(at, done) for at in (1, 2) for done in (3, 6, 9, 12)]


def test_an_iterator_in_disguise_is_refused() -> None:
    """Its second pass is empty: histograms of nothing must not become ranges."""
    once = iter(BATCHES)
    with pytest.raises(InputError, match="second pass"):
        calibrate(MODEL, lambda: once)


def test_other_slices_in_the_second_pass_are_refused() -> None:
    dark = [np.full((3, 16, 16, 3), 128, np.uint8)]
    turns = iter([dark, [residual.images(3)]])
    with pytest.raises(InputError, match="second pass"):
        calibrate(MODEL, lambda: next(turns))


def test_no_slices_are_refused() -> None:
    with pytest.raises(InputError, match="no slices"):
        calibrate(MODEL, [])


def test_values_that_are_not_finite_name_their_tensor() -> None:
    model = residual.build(**{"a/b": np.full(8, np.inf, np.float32)})
    with pytest.raises(BundleError, match="a/y"):
        calibrate(model, BATCHES)


def test_an_image_that_is_scaled_otherwise_is_refused() -> None:
    model = residual.build(one_128th=np.float32(1 / 32))
    with pytest.raises(BundleError, match="nchw is the scaled image"):
        calibrate(model, BATCHES)


def test_a_tensor_of_zeros_has_a_scale() -> None:
    model = residual.build(**{"a/b": np.full(8, -1e3, np.float32)})
    for amax in calibrate(model, BATCHES).values():
        assert amax["a/r"] == 1.0


def test_the_image_stays_one_through_pooling_but_not_through_weights() -> None:
    found = image_tensors(MODEL)
    assert "nchw" in found
    assert not found & {"stem/y", "stem/r", "padded"}
    model = residual.build()
    pool = onnx.helper.make_node(
        "AveragePool", ["nchw"], ["half"], "half", kernel_shape=[1, 1], strides=[1, 1]
    )
    model.graph.node.insert(4, pool)
    next(node for node in model.graph.node if node.name == "stem").input[0] = "half"
    assert "half" in image_tensors(model)
    assert calibrate(model, BATCHES, [Method.MAX])[Method.MAX]["half"] == IMAGE_AMAX


def test_the_images_scale_is_not_shared_in_a_concat() -> None:
    model = residual.build(**{"join/w": np.ones((8, 19, 3, 3), np.float32)})
    node = next(each for each in model.graph.node if each.name == "concat")
    node.input.append("nchw")
    given = dict.fromkeys(activations(model), 0.5) | {"nchw": IMAGE_AMAX}
    found = tie(model, given)
    assert found["nchw"] == found["both"] == found["stem/r"] == IMAGE_AMAX
    found = tie(model, given | {"block": 7.0})
    assert found["nchw"] == IMAGE_AMAX
    assert found["both"] == found["stem/r"] == 7.0


def test_tying_takes_the_largest_of_the_group() -> None:
    given = dict.fromkeys(activations(MODEL), 1.0) | {"block": 3.0, "both": 9.0, "pooled": 5.0}
    found = tie(MODEL, given)
    assert found["stem/r"] == found["up"] == found["both"] == found["padded"] == 3.0
    assert found["a/r"] == 1.0


@pytest.mark.parametrize("method", Method)
def test_the_quantised_model_stays_near_the_float_one(method: Method) -> None:
    slices = residual.images(6, 99)
    plain = residual.run(MODEL, slices)
    made = residual.run(quantise(MODEL, FOUND[method]), slices)
    for one, other in zip(plain, made, strict=True):
        assert 0 < np.abs(one - other).max() < 0.05
        assert np.abs(one - other).mean() < 0.01
