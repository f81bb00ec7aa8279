from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import residual
from scanside.errors import BackendError, BundleError
from scanside_calibration.int8.histogram import BINS, collect_histograms, histogram
from scanside_calibration.ranges import measure_ranges

MODEL = residual.build()
SLICES = residual.images(5)


@given(values=hnp.arrays(np.float32, (3, 50), elements=st.floats(-8, 8, width=32)))
def test_every_value_is_counted_once_near_its_bin(values: np.ndarray) -> None:
    found = histogram(values, 8.0)
    assert found.counts.sum() == values.size
    assert found.above == 0
    expected = np.histogram(np.abs(values), bins=BINS, range=(0, 8.0))[0]
    assert np.abs(np.cumsum(found.counts) - np.cumsum(expected)).max() <= values.size
    mean = float(found.counts @ found.centres) / values.size
    assert mean == pytest.approx(float(np.abs(values).mean()), abs=8.0 / BINS)


def test_larger_values_are_noticed() -> None:
    found = histogram(np.float32([0.5, 1.0, 1.0005, 2.0, -3.0]), 1.0)
    assert found.above == 2
    assert found.counts[-1] == 4


def test_a_model_is_observed_as_numpy_counts_its_tensors() -> None:
    names = ["stem/r", "both"]
    copy = onnx.ModelProto()
    copy.CopyFrom(MODEL)
    del copy.graph.output[:]
    for name in names:
        value = onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
        copy.graph.output.append(value)
    tensors = dict(zip(names, residual.run(copy, SLICES), strict=True))
    largest = {name: float(np.abs(values).max()) for name, values in tensors.items()}
    done: list[int] = []
    found = collect_histograms(MODEL, [SLICES[:2], SLICES[2:]], largest, progress=done.append)
    assert done == [2, 5]
    for name, values in tensors.items():
        expected = histogram(values, largest[name])
        assert found[name].counts.sum() == values.size
        moved = np.abs(np.cumsum(found[name].counts) - np.cumsum(expected.counts))
        assert moved.max() <= 3  # another kernel's last digit beside a bin's edge


def test_batches_change_nothing() -> None:
    ranges = measure_ranges(MODEL, [SLICES])
    largest = {name: ranges[name].largest for name in ("a/r", "block")}
    one = collect_histograms(MODEL, [SLICES], largest)
    other = collect_histograms(MODEL, list(SLICES[:, None]), largest)
    for name in largest:
        np.testing.assert_array_equal(one[name].counts, other[name].counts)


def test_values_that_are_not_finite_name_their_tensor() -> None:
    model = residual.build(**{"a/b": np.full(8, np.inf, np.float32)})
    with pytest.raises(BundleError, match="a/r"):
        collect_histograms(model, [SLICES], {"stem/r": 1.0, "a/r": 1.0})


def test_a_model_that_onnxruntime_refuses() -> None:
    model = residual.build()
    model.graph.node[4].op_type = "NoSuchOperator"
    with pytest.raises(BackendError, match="refuses"):
        collect_histograms(model, [SLICES], {"a/r": 1.0})
