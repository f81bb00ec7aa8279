"""`scanside build` as a user calls it, with a fake library in the child process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from msgspec import structs

import fake_tensorrt
import toy
from scanside import open_bundle
from scanside.backends.tensorrt.library import load_runtime
from scanside.bundle import write_bundle
from scanside.contract import Batch
from scanside.engines import Wanted, engine_folder, find_engine, read_engine
from scanside.errors import BackendError
from scanside_export.engine.exchange import Device, Settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from command import Done

RTX = ("--target", "rtx", "--compute-capability", "8.6")
WANTED = Wanted("", "tensorrt_rtx", "1.7.1.116", "GeForce", "8.6", "fp32")


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The command is there, the cache is this test's own, and no library is installed."""
    monkeypatch.setenv("SCANSIDE_CACHE", str(tmp_path / "cache"))
    for name in ("tensorrt", "tensorrt_bindings", "tensorrt_rtx", "tensorrt_rtx_bindings"):
        (tmp_path / "absent" / name).mkdir(parents=True)
        text = f"raise ModuleNotFoundError(name={name!r})"
        (tmp_path / "absent" / name / "__init__.py").write_text(text)
    path = [str(tmp_path / "absent"), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path))


@pytest.fixture
def with_fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """Put a fake ``tensorrt_rtx`` on the child's path; `ending` is run while it builds."""

    def put(ending: str = "") -> None:
        folder = tmp_path / "fake"
        folder.mkdir(exist_ok=True)
        (folder / "tensorrt_rtx.py").write_text(
            "import os, sys, fake_tensorrt\n"
            "sys.modules[__name__] = made = fake_tensorrt.make('rtx')\n"
            "build = made.Builder.build_serialized_network\n"
            f"def ended(*words):\n    {ending or 'pass'}\n    return build(*words)\n"
            "made.Builder.build_serialized_network = ended\n"
        )
        support = str(Path(fake_tensorrt.__file__).parent)
        path = [str(folder), support, *filter(None, [os.environ.get("PYTHONPATH")])]
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path))

    return put


def test_help_says_what_the_options_are(scanside: Callable[..., Done]) -> None:
    done = scanside("build", "--help")
    assert done.code == 0
    assert "--target" in done.out
    assert "--memory-limit" in done.out


@pytest.mark.parametrize(("target", "extra"), [("trt", "gpu"), ("rtx", "rtx")])
def test_without_the_library_it_says_how_to_get_it(
    target: str, extra: str, scanside: Callable[..., Done]
) -> None:
    done = scanside("build", "--target", target)
    assert done.code == 8
    assert "not installed here" in done.err
    assert f"pip install 'scanside[{extra}]'" in done.err


def test_on_a_jetson_the_library_comes_with_jetpack(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    with pytest.raises(BackendError, match="not installed here.*comes with JetPack"):
        load_runtime("tensorrt", "scanside build")


@pytest.mark.slow
def test_engines_are_built_kept_and_found(
    toy_path: Path, tmp_path: Path, scanside: Callable[..., Done], with_fake: Callable[..., None]
) -> None:
    with_fake()
    report = tmp_path / "report.json"
    done = scanside("build", toy_path, *RTX, "--batch", "1,2,4", "--json", report)
    assert done.code == 0, done.err
    assert "not run" in done.err
    assert "batches of 1,2,4 (--batch) in place of the bundle's 1,1,8" in done.err
    assert "convolution Int8 -> Half" in done.out
    bundle = open_bundle(toy_path)
    for role in ("classifier", "segmenter"):
        wanted = WANTED._replace(model_sha256=bundle.manifest.models[role]["fp32"].sha256)
        sidecar = find_engine(engine_folder(), wanted)
        plan, _ = read_engine(engine_folder(), sidecar.key)
        assert plan == b"PLAN" + bundle.read_model(role, "fp32")
        assert sidecar.key.profile == (1, 2, 4)
        assert sidecar.bundle_profile == (1, 1, 8)
        assert sidecar.command.startswith(f"scanside build {toy_path} --target rtx")
    told = json.loads(report.read_bytes())
    assert told["schema"] == "scanside.build/1"
    assert told["run_on_gpu"] is False
    assert [engine["kept"] for engine in told["engines"]] == [False, False]
    assert told["engines"][0]["layers"][0]["nodes"] == ["conv1", "relu"]
    assert told["engines"][0]["log"] == ["the fake warns"]
    left = {path.suffix for path in engine_folder().iterdir()}
    assert left == {".plan", ".json"}


@pytest.mark.slow
def test_the_bundle_says_the_batch(
    tmp_path: Path, scanside: Callable[..., Done], with_fake: Callable[..., None]
) -> None:
    with_fake()
    manifest, files = toy.parts()
    said = structs.replace(manifest, batch=Batch(opt=3, max=6))
    write_bundle(tmp_path / "bundle", said, files)
    for words in ((), ("--batch", "1,3,6")):
        done = scanside("build", tmp_path / "bundle", *RTX, *words)
        assert done.code == 0, done.err
        assert "in place of the bundle's" not in done.err
        assert "1 to 6, best at 3" in done.out
    assert done.err.count("there already") == 2
    wanted = WANTED._replace(model_sha256=manifest.models["segmenter"]["fp32"].sha256, batch=6)
    found = find_engine(engine_folder(), wanted)
    assert (found.key.profile, found.bundle_profile) == ((1, 3, 6), None)


@pytest.mark.slow
def test_what_is_there_is_not_built_again_unless_asked_or_damaged(
    toy_path: Path, scanside: Callable[..., Done], with_fake: Callable[..., None]
) -> None:
    with_fake()
    assert scanside("build", toy_path, *RTX).code == 0
    assert scanside("build", toy_path, *RTX).err.count("there already") == 2
    assert scanside("build", toy_path, *RTX, "--rebuild").err.count("there already") == 0
    assert scanside("build", toy_path, *RTX, "--level", 5).err.count("there already") == 0
    damaged = sorted(engine_folder().glob("*.plan"))[0]
    damaged.write_bytes(b"?")
    done = scanside("build", toy_path, *RTX)
    done_high = scanside("build", toy_path, *RTX, "--level", 5)
    assert (done.err + done_high.err).count("built again") == 1
    assert (done.err + done_high.err).count("there already") == 3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ending", "code", "said"),
    [
        ("os.kill(os.getpid(), 9)", 8, "memory"),
        ("os.abort()", 8, "SIGABRT"),
        ("raise ValueError('defect')", 70, "defect"),
    ],
)
def test_a_build_that_dies_loses_nothing(
    ending: str, code: int, said: str, toy_path: Path,
    scanside: Callable[..., Done], with_fake: Callable[..., None],
) -> None:  # fmt: skip
    with_fake()
    assert scanside("build", toy_path, *RTX).code == 0
    before = {path: path.read_bytes() for path in engine_folder().iterdir()}
    with_fake(ending)
    done = scanside("build", toy_path, *RTX, "--rebuild")
    assert done.code == code
    assert said in done.err
    assert {path: path.read_bytes() for path in engine_folder().iterdir()} == before


@pytest.mark.parametrize(
    "words",
    [
        ("--batch", "4,1,8"), ("--batch", "0,1,1"), ("--batch", "2,2,4"), ("--batch", "x"),
        ("--target", "rtx", "--hardware-compatibility", "same"),
        ("--target", "rtx", "--version-compatible"), ("--compute-capability", "8.6"),
        ("--target", "rtx", "--compute-capability", "8.7"),
        ("--target", "rtx", "--compute-capability", "7.5", "--compute-capability", "8.6"),
        ("--level", "6"), ("--split", __file__), ("--precision", "fp16", "--int8-rest", "fp16"),
    ],
)  # fmt: skip
def test_options_that_make_no_sense(words: tuple[str, ...], scanside: Callable[..., Done]) -> None:
    assert scanside("build", *words).code == 2


def test_a_precision_that_the_bundle_lacks(
    toy_path: Path, scanside: Callable[..., Done], with_fake: Callable[..., None]
) -> None:
    with_fake()
    done = scanside("build", toy_path, *RTX, "--precision", "int8")
    assert done.code == 4
    assert "holds no int8" in done.err


@pytest.mark.slow
def test_a_folder_of_ones_own(
    toy_path: Path, tmp_path: Path, scanside: Callable[..., Done], with_fake: Callable[..., None]
) -> None:
    with_fake()
    assert scanside("build", toy_path, *RTX, "--output", tmp_path / "ours").code == 0
    assert len(list((tmp_path / "ours").glob("*.plan"))) == 2
    (tmp_path / "file").touch()
    assert scanside("build", toy_path, *RTX, "--output", tmp_path / "file" / "x").code == 9


def test_it_needs_nothing_but_the_library(
    toy_path: Path, with_fake: Callable[..., None], tmp_path: Path
) -> None:
    """As on a Jetson: no ONNX, no ONNX Runtime, nothing of the training stack."""
    with_fake()
    absent = ("onnx", "onnxruntime", "tf2onnx", "tensorflow", "keras", "pycuda")
    for name in absent:
        (tmp_path / "fake" / f"{name}.py").write_text(f"raise AssertionError({name!r})\n")
    done = subprocess.run(
        [sys.executable, "-m", "scanside", "build", toy_path, *RTX],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(list(engine_folder().glob("*.plan"))) == 2


def test_where_device_and_host_share_memory_the_builder_takes_a_quarter() -> None:
    settings = Settings(target="trt", precision="int8", profile=(1, 1, 8), workspace=64)
    orin = Device(name="Orin", capability="8.7", memory=8 << 30, integrated=True)
    capped = settings.capped(orin)
    assert (capped.workspace, capped.tactic_dram) == (64, 2048)
    assert settings.capped(structs.replace(orin, integrated=False)) == settings
    assert settings.capped(None) == settings
