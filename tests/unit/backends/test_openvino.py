from __future__ import annotations

import builtins
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import toy
from scanside import Pipeline, backends, open_bundle
from scanside.backends.cpufeatures import cpu_features
from scanside.backends.rewrites import FOR_OPENVINO, Derived, derive
from scanside.bundle import write_bundle
from scanside.errors import BackendError, BundleError, ExtraNotInstalledError
from scanside.verification import verify

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from scanside.backends.openvino import OpenVinoBackend
    from scanside.bundle import Bundle
    from scanside.contract import Role

needs_openvino = pytest.mark.usefixtures("openvino")


@pytest.fixture
def openvino() -> Any:
    """OpenVINO as the backend imports it; absent: skipped."""
    pytest.importorskip("openvino", reason="openvino is not installed: pip install '.[openvino]'")
    from scanside.backends.openvino import _openvino

    return _openvino()


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("SCANSIDE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def bundle(toy_path: Path) -> Bundle:
    return open_bundle(toy_path)


@pytest.fixture
def backend(request: pytest.FixtureRequest, bundle: Bundle) -> Iterator[OpenVinoBackend]:
    request.getfixturevalue("openvino")
    from scanside.backends.openvino import OpenVinoBackend

    made = OpenVinoBackend(bundle, "fp32", lanes=1, threads=1)
    yield made
    made.close()


def images(number: int) -> np.ndarray:
    return np.stack([toy.lesion_slice(n, lesion=n % 2 == 0) for n in range(number)])


@needs_openvino
def test_the_golden_slices_pass(bundle: Bundle) -> None:
    with Pipeline.open(bundle, backend="openvino") as pipeline:
        assert pipeline.backend.name == "openvino"
        assert [check for check in verify(bundle, pipeline) if not check.passed] == []


@needs_openvino
def test_the_golden_slices_of_the_bundle_that_ships_pass() -> None:
    shipped = open_bundle()
    with Pipeline.open(shipped, backend="openvino") as pipeline:
        assert [check for check in verify(shipped, pipeline) if not check.passed] == []


@pytest.mark.parametrize("number", [1, 2, 5])
def test_any_number_of_slices_gives_what_onnx_runtime_gives(
    number: int, backend: OpenVinoBackend, bundle: Bundle
) -> None:
    given = images(number)
    for role, run, shape in (
        ("classifier", backend.classify, (number, 1)),
        ("segmenter", backend.segment, (number, 256, 256)),
    ):
        wanted = toy.run(bundle.read_model(role, "fp32"), given)  # type: ignore[arg-type]
        found = run(given)
        assert (found.shape, found.dtype) == (shape, np.float32)
        assert role == "classifier" or np.ptp(wanted) > 0.1
        np.testing.assert_allclose(found, wanted, atol=1e-5)


@pytest.mark.parametrize("number", [1, 3])
def test_a_result_does_not_change_when_the_next_runs(number: int, backend: OpenVinoBackend) -> None:
    first = backend.segment(images(number))
    kept = first.copy()
    other = backend.segment(255 - images(number))
    assert not np.array_equal(kept, other)
    assert np.array_equal(first, kept)


def test_arrays_that_cannot_be_shared_are_taken_and_left_alone(backend: OpenVinoBackend) -> None:
    given = images(1)
    wanted = backend.segment(given)
    fixed = given.copy()
    fixed.flags.writeable = False
    strided = np.repeat(given, 2, axis=2)[:, :, ::2]
    for array in (fixed, strided):
        assert np.array_equal(backend.segment(array), wanted)
        assert np.array_equal(array, given)


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((1, 128, 128, 3), np.uint8),
        np.zeros((1, 3, 256, 256), np.uint8),
        np.zeros((1, 256, 256, 3), np.float32),
        np.zeros((0, 256, 256, 3), np.uint8),
    ],
    ids=["size", "layout", "dtype", "none"],
)
def test_what_is_no_input_is_refused(wrong: np.ndarray, backend: OpenVinoBackend) -> None:
    with pytest.raises(BackendError, match=r"accepted: uint8"):
        backend.classify(wrong)


@needs_openvino
def test_lanes_compute_side_by_side_what_one_computes(bundle: Bundle) -> None:
    from scanside.backends import openvino as module

    lanes = 3
    backend = module.load(bundle, "fp32", lanes=lanes)
    assert backend.lanes == lanes
    given = images(8)
    wanted = [backend.segment(image[None]) for image in given]
    together = threading.Barrier(lanes)

    def lane(start: int) -> list[bool]:
        together.wait()
        return [
            np.array_equal(backend.segment(given[n % 8][None]), wanted[n % 8])
            for n in range(start, start + 40)
        ]

    with ThreadPoolExecutor(lanes) as pool:
        assert all(all(found) for found in pool.map(lane, range(lanes)))


def test_it_says_what_computes(backend: OpenVinoBackend) -> None:
    said = backend.describe()
    assert said.keys() >= {"openvino", "device", "inference_precision", "threads", "lanes"}
    assert (said["device"], said["inference_precision"], said["threads"]) == ("CPU", "f32", "1")
    assert said["openvino"][:4].isdigit()


def test_float_models_compute_in_float32_whatever_the_processor_has(
    backend: OpenVinoBackend,
) -> None:
    assert backend._classifier is not None
    compiled = backend._classifier._single.get().get_compiled_model()
    assert compiled.get_property("INFERENCE_PRECISION_HINT").to_string() == "f32"
    assert compiled.get_property("DYNAMIC_QUANTIZATION_GROUP_SIZE") == 0
    assert compiled.get_property("INFERENCE_NUM_THREADS") == 1


def test_a_closed_backend_says_so(backend: OpenVinoBackend) -> None:
    backend.close()
    with pytest.raises(BackendError, match="was closed"):
        backend.classify(images(1))


@needs_openvino
def test_models_that_were_exchanged_are_refused(tmp_path: Path) -> None:
    exchanged = write_bundle(tmp_path / "bundle", *toy.parts(exchange=True))
    with pytest.raises(BundleError, match=r"\$\.models\.classifier\.fp32.*mask_probability"):
        backends.load("openvino", exchanged)


@needs_openvino
def test_a_model_that_openvino_refuses_is_a_backend_error(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    derived = Derived(b"no model", ())
    monkeypatch.setattr("scanside.backends.openvino.derive", lambda *_: derived)
    with pytest.raises(BackendError, match=r"OpenVINO 20\d\d\.\S+ refuses the fp32 classifier"):
        backends.load("openvino", bundle)


def test_an_openvino_that_is_missing_is_named_with_its_extra(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(ExtraNotInstalledError, match=r"pip install 'scanside\[openvino\]'"):
        backends.load("openvino", bundle)
    assert "openvino_telemetry" not in sys.modules or sys.modules["openvino_telemetry"] is not None


@pytest.mark.parametrize(
    "error",
    [ImportError("libtbb.so.12: cannot open"), ModuleNotFoundError("libtbb.so.12", name="numpy.x")],
)
def test_an_openvino_that_is_broken_is_not_called_missing(
    error: ImportError, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "openvino":
            raise error
        return real(name, *args, **kwargs)

    real = builtins.__import__
    monkeypatch.setattr(builtins, "__import__", fail)
    with pytest.raises(BackendError, match=r"installed and cannot be imported: libtbb\.so\.12"):
        backends.load("openvino", bundle)


@needs_openvino
def test_telemetry_is_not_imported() -> None:
    code = """
import sys
from scanside.backends.openvino import _openvino
_openvino()
print([name for name in sys.modules if name.startswith("openvino_telemetry")])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def kept(cache: Path) -> list[Path]:
    return sorted((cache / "openvino").glob("*.bin"))


@needs_openvino
def test_compiled_models_are_kept_and_used(
    bundle: Bundle, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from scanside.backends import openvino as module

    first = module.load(bundle, "fp32")
    wanted = first.segment(images(1)), first.segment(images(2))
    assert len(kept(own_cache)) == 3  # both models for one slice, the segmenter for any number

    def never(*_: Any) -> Any:
        raise AssertionError("compiled again")

    monkeypatch.setattr(module, "_compile", never)
    again = module.load(bundle, "fp32")
    assert np.array_equal(again.segment(images(1)), wanted[0])
    assert np.array_equal(again.segment(images(2)), wanted[1])


@needs_openvino
def test_a_damaged_compiled_model_is_made_again_and_said(
    bundle: Bundle, own_cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from scanside.backends import openvino as module

    wanted = module.load(bundle, "fp32").segment(images(1))
    sound = [path.read_bytes() for path in kept(own_cache)]
    for path, content in zip(kept(own_cache), sound, strict=True):
        path.write_bytes(content[:-9] + bytes([content[-9] ^ 4]) + content[-8:])
    assert np.array_equal(module.load(bundle, "fp32").segment(images(1)), wanted)
    assert caplog.text.count("is damaged and is not used") == 2
    caplog.clear()
    module.load(bundle, "fp32")
    assert not caplog.records


@needs_openvino
def test_what_another_library_has_kept_is_not_used(
    bundle: Bundle, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from scanside.backends import openvino as module

    module.load(bundle, "fp32")
    before = kept(own_cache)
    for name in ("processor", "VERSION"):
        value = "another" if name == "VERSION" else (lambda: "another")
        monkeypatch.setattr(module, name, value)
        module.load(bundle, "fp32")
        assert len(kept(own_cache)) == len(before) + 2
        before = kept(own_cache)


@needs_openvino
def test_without_a_cache_folder_it_works_the_same(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("SCANSIDE_CACHE", str(tmp_path / "file" / "cache"))
    with Pipeline.open(bundle, backend="openvino") as pipeline:
        assert all(check.passed for check in verify(bundle, pipeline))


def quantized(*, zero_point: int = 0, unsigned: bool = False) -> bytes:
    """A residual block whose shortcut and trunk are 1x1 convolutions of stride 2, in Q/DQ."""
    rng = np.random.default_rng(4)
    kind = np.uint8 if unsigned else np.int8
    held: dict[str, Any] = {
        "scale": np.float32(0.05), "zero": kind(zero_point), "cast_scale": np.float32(1 / 128),
    }  # fmt: skip
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["float", "cast_scale"], ["unit"]),
        helper.make_node("Transpose", ["unit"], ["x"], perm=[0, 3, 1, 2]),
    ]

    def pair(name: str) -> str:
        ends = ["scale", "zero"]
        nodes.append(helper.make_node("QuantizeLinear", [name, *ends], [f"{name}_q"]))
        nodes.append(helper.make_node("DequantizeLinear", [f"{name}_q", *ends], [f"{name}_dq"]))
        return f"{name}_dq"

    def conv(source: str, name: str, channels: tuple[int, int], kernel: int, stride: int) -> str:
        shape = (channels[1], channels[0], kernel, kernel)
        held[f"{name}_w"] = rng.integers(-127, 128, shape).astype(np.int8)
        held[f"{name}_s"] = np.full(channels[1], 0.02 / channels[0] ** 0.5 / kernel, np.float32)
        held[f"{name}_z"] = np.zeros(channels[1], np.int8)
        nodes.append(
            helper.make_node("DequantizeLinear", [f"{name}_{e}" for e in "wsz"], [f"{name}_f"],
                             axis=0)
        )  # fmt: skip
        nodes.append(
            helper.make_node("Conv", [source, f"{name}_f"], [name], strides=[stride, stride],
                             pads=[kernel // 2] * 4)
        )  # fmt: skip
        return name

    nodes.append(helper.make_node("Relu", [conv(pair("x"), "stem", (3, 32), 3, 2)], ["stem_r"]))
    block = pair("stem_r")
    left = pair(conv(block, "short", (32, 32), 1, 2))
    nodes.append(helper.make_node("Relu", [conv(block, "trunk", (32, 32), 1, 2)], ["trunk_r"]))
    right = pair(conv(pair("trunk_r"), "deep", (32, 32), 3, 1))
    nodes += [
        helper.make_node("Add", [left, right], ["sum"]),
        helper.make_node("Relu", ["sum"], ["result"]),
    ]
    graph = helper.make_graph(
        nodes,
        "block",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", 256, 256, 3])],
        [helper.make_tensor_value_info("result", TensorProto.FLOAT, ["batch", 32, 64, 64])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in held.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


QDQ = [{}, {"unsigned": True, "zero_point": 128}]


@pytest.mark.parametrize("kind", QDQ, ids=["signed", "unsigned"])
def test_a_q_dq_graph_gives_what_onnx_runtime_gives(openvino: Any, kind: dict[str, Any]) -> None:
    from scanside.backends.openvinograph import fuse_quantizers

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    given = images(1)
    content = quantized(**kind)
    wanted = onnxruntime.InferenceSession(content, options).run(None, {"image": given})[0]
    core = openvino.Core()
    model = core.read_model(content)
    assert fuse_quantizers(model) == 5
    assert not {"Subtract"} & {node.get_type_name() for node in activations(model)}
    compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found = compiled([given])[0]
    assert wanted.std() > 0.05
    # Both round; a step of the activations' scale, here and there.
    assert np.abs(found - wanted).max() <= 0.101
    assert np.abs(found - wanted).mean() < 0.002


def activations(model: Any) -> list[Any]:
    """The nodes that are not made of constants alone."""
    return [node for node in model.get_ordered_ops() if node.output(0).partial_shape.is_dynamic]


@pytest.mark.parametrize("kind", QDQ, ids=["signed", "unsigned"])
def test_every_convolution_computes_in_integers(openvino: Any, kind: dict[str, Any]) -> None:
    from scanside.backends.openvino import _OPTIONS, _compile

    compiled = _compile(openvino.Core(), quantized(**kind), 1, dict(_OPTIONS))
    used = []
    for node in compiled.get_runtime_model().get_ordered_ops():
        facts = node.get_rt_info()
        if facts["layerType"].astype(str) == "Convolution":
            used.append(facts["primitiveType"].astype(str))
    assert len(used) == 4
    assert all(name.lower().endswith("i8") for name in used), used


@pytest.mark.parametrize("role", ["classifier", "segmenter"])
def test_every_convolution_of_the_default_bundle_computes_in_integers(
    openvino: Any, role: Role
) -> None:
    from scanside.backends.openvino import _OPTIONS, _compile

    content = open_bundle().read_model(role, "int8")
    derived = derive(content, cpu_features(), FOR_OPENVINO).content
    compiled = _compile(openvino.Core(), derived, 1, dict(_OPTIONS))
    layers = [node.get_rt_info() for node in compiled.get_runtime_model().get_ordered_ops()]
    used = [
        facts["primitiveType"].astype(str)
        for facts in layers
        if facts["layerType"].astype(str) == "Convolution"
    ]
    assert len(used) == {"classifier": 53, "segmenter": 28}[role]
    assert all(name.lower().endswith("i8") for name in used), used


def enlargement(
    channels: int, sizes: tuple[int, int], wider: float = 4, **attributes: Any
) -> bytes:
    """A Resize to the double height and the fourfold width: its weights are exact in float32."""
    given = {"mode": "linear", "coordinate_transformation_mode": "half_pixel", **attributes}
    shape = ["batch", channels]
    graph = helper.make_graph(
        [helper.make_node("Resize", ["x", "", "scales"], ["y"], **given)],
        "enlargement",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [*shape, *sizes])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [*shape, *(None, None)])],
        [numpy_helper.from_array(np.float32([1, 1, 2, wider]), "scales")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("sizes", [(128, 128), (5, 9), (1, 2), (2, 1)], ids=str)
def test_a_plane_is_enlarged_by_products(openvino: Any, sizes: tuple[int, int], batch: int) -> None:
    from scanside.backends.openvinograph import enlarge_by_products

    content = enlargement(1, sizes)
    given = np.random.default_rng(1).normal(size=(batch, 1, *sizes)).astype(np.float32)
    wanted = onnxruntime.InferenceSession(content).run(None, {"x": given})[0]
    core = openvino.Core()
    model = core.read_model(content)
    assert enlarge_by_products(model) == 1
    assert "Interpolate" not in {node.get_type_name() for node in model.get_ordered_ops()}
    found = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})([given])[0]
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() < 2e-6


@pytest.mark.parametrize(
    ("channels", "attributes"),
    [
        (2, {}),
        (1, {"wider": 4.1}),
        (1, {"mode": "nearest"}),
        (1, {"mode": "cubic"}),
        (1, {"coordinate_transformation_mode": "align_corners"}),
        (1, {"coordinate_transformation_mode": "asymmetric"}),
    ],
    ids=str,
)
def test_another_enlargement_is_left_alone(
    openvino: Any, channels: int, attributes: dict[str, Any]
) -> None:
    from scanside.backends.openvinograph import enlarge_by_products

    model = openvino.Core().read_model(enlargement(channels, (8, 8), **attributes))
    assert enlarge_by_products(model) == 0
    assert "Interpolate" in {node.get_type_name() for node in model.get_ordered_ops()}


def test_a_graph_without_pairs_is_left_alone(openvino: Any) -> None:
    from scanside.backends.openvinograph import fuse_quantizers

    model = openvino.Core().read_model(toy.classifier().SerializeToString())
    before = [node.get_friendly_name() for node in model.get_ordered_ops()]
    assert fuse_quantizers(model) == 0
    assert [node.get_friendly_name() for node in model.get_ordered_ops()] == before


AFTER_CLOSE = """
import os, signal, sys
from pathlib import Path
from scanside import backends, open_bundle

told = []
signal.signal(signal.SIGINT, lambda *_: told.append(1))
loaded = backends.load("openvino", open_bundle(Path(sys.argv[1])), streaming=True)
loaded.backend.close()
del loaded
for _ in range(20):
    os.kill(os.getpid(), signal.SIGINT)
sys.exit(0 if told else 1)
"""


@needs_openvino
def test_a_signal_after_it_was_closed_is_survived(toy_path: Path) -> None:
    """The library's threads outlive its models: unloading their code would end the process."""
    done = subprocess.run([sys.executable, "-c", AFTER_CLOSE, str(toy_path)], check=False)
    assert done.returncode == 0
