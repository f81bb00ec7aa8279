from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest

import residual
import toy
from scanside import Bundle, open_bundle
from scanside.backends import graphcache, onnxsession
from scanside.backends.cpufeatures import CpuFeatures
from scanside.backends.onnxruntime import load
from scanside.errors import BackendError, BundleError
from small import open_small

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache; the folder where graphs are kept."""
    monkeypatch.setenv("SCANSIDE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "graphs"


@pytest.fixture
def images() -> NDArray[np.uint8]:
    return np.stack([toy.lesion_slice(n, lesion=n % 2 == 0) for n in range(3)])


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The models that were read and derived, in order."""
    read: list[str] = []
    original = Bundle.read_model

    def watched(self: Bundle, role: Any, precision: Any) -> bytes:
        read.append(role)
        return original(self, role, precision)

    monkeypatch.setattr(Bundle, "read_model", watched)
    return read


def outputs(bundle: Bundle, images: NDArray[np.uint8]) -> tuple[bytes, bytes]:
    backend = load(bundle, "fp32")
    try:
        return backend.classify(images).tobytes(), backend.segment(images).tobytes()
    finally:
        backend.close()


@pytest.mark.parametrize("path", ["toy", "real"])
def test_a_kept_graph_gives_the_bits_of_the_one_that_was_optimised(
    path: str, toy_path: Path, kept: Path, images: NDArray[np.uint8], made: list[str]
) -> None:
    bundle = open_bundle(toy_path) if path == "toy" else open_small()
    first = outputs(bundle, images)
    assert made == ["classifier", "segmenter"]
    assert len(list(kept.glob("*.bin"))) == 4
    assert outputs(bundle, images) == first
    assert made == ["classifier", "segmenter"], "the second start reads no model of the bundle"


def test_it_gives_the_bits_of_a_session_that_keeps_nothing(
    toy_path: Path, kept: Path, images: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = open_bundle(toy_path)
    outputs(bundle, images)
    second = outputs(bundle, images)
    assert kept.is_dir()
    monkeypatch.setattr(graphcache, "cache_folder", lambda *_: None)
    assert outputs(bundle, images) == second


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def foreign(path: Path) -> None:
    """What is in the cache is what was written there, and is no graph of this library."""
    graphcache.write_entry(path.parent, path.stem, b"ORTM" + bytes(1000))


def another_model(path: Path) -> None:
    """A graph with other inputs and outputs than the role's."""
    graphcache.write_entry(path.parent, path.stem, residual.build().SerializeToString())


def gone(path: Path) -> None:
    path.unlink()


def no_list(path: Path) -> None:
    graphcache.write_entry(path.parent, f"{path.stem}-applied", b"{")


@pytest.mark.parametrize("damage", [flipped, cut, foreign, another_model, gone, no_list])
def test_a_graph_that_is_not_as_it_was_kept_is_made_anew(
    damage: Callable[[Path], None], toy_path: Path, kept: Path, images: NDArray[np.uint8],
    made: list[str], caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    caplog.set_level("CRITICAL")
    bundle = open_bundle(toy_path)
    first = outputs(bundle, images)
    for path in kept.glob("*.bin"):
        if "-applied" not in path.name:
            damage(path)
    made.clear()
    capfd.readouterr()
    assert outputs(bundle, images) == first
    assert made == ["classifier", "segmenter"]
    assert capfd.readouterr().err == "", "ONNX Runtime says nothing of it"
    made.clear()
    assert outputs(bundle, images) == first
    assert made == [], "what was made anew is kept"


def test_a_session_outlives_the_bytes_it_was_made_from(
    kept: Path, images: NDArray[np.uint8]
) -> None:
    bundle = open_small()
    outputs(bundle, images)
    assert kept.is_dir()
    backend = load(bundle, "fp32")
    first = backend.segment(images)
    filler = [bytes([n]) * (4 << 20) for n in range(16)]
    np.testing.assert_array_equal(backend.segment(images), first)
    assert len(filler) == 16


def test_the_key_changes_with_everything_that_the_graph_depends_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def key(model: str = "a", library: str = "1", **options: str) -> str:
        return graphcache.graph_key(model, library, options)

    found = [key(), key(model="b"), key(library="2"), key(x="0"), key(x="1")]
    monkeypatch.setattr(graphcache, "processor", lambda: "another")
    found.append(key())
    monkeypatch.setattr(graphcache, "REWRITES_VERSION", "another")
    found.append(key())
    assert len(set(found)) == len(found)


def test_without_vnni_products_of_bytes_are_not_summed_in_16_bits() -> None:
    for wide, option in ((True, "0"), (False, "1")):
        features = CpuFeatures(wide_dot_product=wide)
        assert onnxsession._graph_options(features) == {"session.x64quantprecision": option}


def test_exchanged_models_are_refused_with_and_without_a_kept_graph(
    tmp_path: Path, kept: Path
) -> None:
    bundle = toy.write_bundle(tmp_path / "bundle", *toy.parts(exchange=True))
    for _ in range(2):
        with pytest.raises(BundleError, match=r"\$\.models\.classifier\.fp32"):
            load(bundle, "fp32")
    assert not list(kept.glob("*.bin"))


def test_a_precision_that_is_not_there_is_refused(toy_path: Path, kept: Path) -> None:
    with pytest.raises(BundleError, match="no int8 classifier"):
        load(open_bundle(toy_path), "int8")
    assert not kept.exists() or not list(kept.iterdir())


def test_a_model_that_onnx_runtime_refuses_is_a_backend_error(
    toy_path: Path, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = toy.classifier()
    model.graph.node[0].op_type = "NoSuchOperator"
    monkeypatch.setattr(Bundle, "read_model", lambda *_: model.SerializeToString())
    with pytest.raises(BackendError, match="refuses the fp32 classifier"):
        load(open_bundle(toy_path), "fp32")
    assert not list(kept.glob("*.bin"))


def test_what_was_derived_is_described_alike_from_the_kept_graph(kept: Path) -> None:
    found = []
    for _ in range(2):
        backend = load(open_small(), "fp32")
        found.append(backend.describe())
        backend.close()
    assert kept.is_dir()
    assert found[0] == found[1]
    assert found[0]["rewrites"] == "transposed-image (exact), pad-into-pool (exact)"


@pytest.mark.parametrize(
    ("cores", "lanes", "threads"), [(4, 1, 4), (4, 4, 1), (4, 3, 1), (1, 2, 1)]
)
def test_lanes_share_the_cores(
    cores: int, lanes: int, threads: int, toy_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scanside.backends.onnxruntime.usable_cores", lambda: cores)
    backend = load(open_bundle(toy_path), "fp32", lanes=lanes)
    assert backend.lanes == lanes
    assert (backend.describe()["lanes"], backend.describe()["threads"]) == (
        str(lanes),
        str(threads),
    )


def test_lanes_that_call_at_once_get_results_of_their_own(
    toy_path: Path, images: NDArray[np.uint8]
) -> None:
    backend = load(open_bundle(toy_path), "fp32", lanes=2)
    wanted = [backend.segment(image[None]) for image in images]
    held = [plane.copy() for plane in wanted]
    differing: list[int] = []

    def lane() -> None:
        for turn in range(30):
            n = turn % len(images)
            if not np.array_equal(backend.segment(images[n][None]), held[n]):
                differing.append(turn)

    lanes = [threading.Thread(target=lane) for _ in range(2)]
    for each in lanes:
        each.start()
    for each in lanes:
        each.join()
    assert not differing
    for plane, copy in zip(wanted, held, strict=True):
        np.testing.assert_array_equal(plane, copy, "a result that was returned never changes")


def test_a_kept_graph_is_of_onnx_runtime_s_own_format(toy_path: Path, kept: Path) -> None:
    load(open_bundle(toy_path), "fp32").close()
    graph = next(path for path in kept.glob("*.bin") if "-applied" not in path.name)
    with pytest.raises(Exception, match=r"pars|Pars|decod|Decod"):
        onnx.load_from_string(graph.read_bytes())
    assert graph.read_bytes()[4:8] == b"ORTM"
