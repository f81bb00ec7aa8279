from __future__ import annotations

import contextlib
import json
import os
import shutil
import zipfile
from typing import TYPE_CHECKING, Any

import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import toy
from scanside import open_bundle
from scanside.bundle import write_bundle
from scanside.errors import BundleError, OutputError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FILES = [
    "manifest.json", "classifier.fp32.onnx", "segmenter.fp32.onnx", "golden.npz", "MODEL_CARD.md",
    "LICENSE-WEIGHTS",
]  # fmt: skip


@pytest.fixture
def bundle(toy_path: Path, tmp_path: Path) -> Path:
    """A copy of the toy bundle that may be damaged."""
    return shutil.copytree(toy_path, tmp_path / "bundle")


def edit(bundle: Path, change: Callable[[dict[str, Any]], None]) -> None:
    file = bundle / "manifest.json"
    manifest = json.loads(file.read_text())
    change(manifest)
    file.write_text(json.dumps(manifest))


def test_what_was_written_opens(toy_path: Path) -> None:
    opened = open_bundle(toy_path)
    assert opened.label == "toy 1"
    assert opened.manifest.precisions == ("fp32",)
    assert opened.read("$.card") == b"# toy\n"


def test_a_manifest_from_before_engines_had_a_batch_means_one_to_eight(bundle: Path) -> None:
    edit(bundle, lambda m: m.pop("batch"))
    assert open_bundle(bundle).manifest.batch.profile == (1, 1, 8)
    edit(bundle, lambda m: m.update(batch={"opt": 2, "max": 4}))
    assert open_bundle(bundle).manifest.batch.profile == (1, 2, 4)


def test_a_zip_is_the_same_bundle(toy_path: Path, tmp_path: Path) -> None:
    zipped = write_bundle(tmp_path / "toy.zip", *toy.parts())
    assert zipped.manifest == open_bundle(toy_path).manifest
    assert zipped.read_model("classifier", "fp32") == (toy_path / FILES[1]).read_bytes()


def test_the_same_content_gives_the_same_zip(tmp_path: Path) -> None:
    parts = toy.parts()
    first, second = (write_bundle(tmp_path / name, *parts).path for name in ("a.zip", "b.zip"))
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("name", FILES)
def test_one_flipped_byte_in_any_file_is_refused(bundle: Path, name: str) -> None:
    content = bytearray((bundle / name).read_bytes())
    # In the manifest a byte inside a hash: a flip in prose is not damage that a hash could show.
    at = content.index(b'"sha256"') + 14 if name == "manifest.json" else len(content) // 2
    content[at] ^= 1
    (bundle / name).write_bytes(content)
    with pytest.raises(BundleError, match=r"\$\."):
        open_bundle(bundle)


@given(data=st.data())
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_flip_in_the_manifest_is_seen_by_its_pin(data: st.DataObject, bundle: Path) -> None:
    file = bundle / "manifest.json"
    original = file.read_bytes()
    pin = open_bundle(bundle).manifest_sha256
    at = data.draw(st.integers(0, len(original) - 1))
    damaged = bytearray(original)
    damaged[at] ^= 1 << data.draw(st.integers(0, 7))
    try:
        file.write_bytes(damaged)
        with pytest.raises(BundleError, match="sha256"):
            open_bundle(bundle, manifest_sha256=pin)
        with contextlib.suppress(BundleError):  # the only error there may be without the pin
            open_bundle(bundle)
    finally:
        file.write_bytes(original)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_refused(bundle: Path, name: str) -> None:
    (bundle / name).unlink()
    with pytest.raises(BundleError, match="No such file"):
        open_bundle(bundle)


@pytest.mark.parametrize("name", FILES[1:])
def test_a_truncated_file_is_refused(bundle: Path, name: str) -> None:
    (bundle / name).write_bytes((bundle / name).read_bytes()[:-1])
    with pytest.raises(BundleError, match="bytes"):
        open_bundle(bundle)


def test_no_bundle_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no bundle is there.*--bundle"):
        open_bundle(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m["thresholds"].update(gate="high"), r"\$\.thresholds\.gate.*Expected `float`"),
        (lambda m: m["thresholds"].update(gate=1.5), r"\$\.thresholds\.gate"),
        (lambda m: m["thresholds"].update(gate=0.95), r"\$\.thresholds.*below gate"),
        (lambda m: m["thresholds"].pop("mask"), r"\$\.thresholds.*missing required field `mask`"),
        (lambda m: m.update(surprise=1), r"unknown field `surprise`"),
        (lambda m: m.update(schema="scanside.bundle/9"), r"\$\.schema"),
        (lambda m: m["models"].pop("segmenter"), "models has no segmenter"),
        (lambda m: m.update(default_precision="int8"), "int8 has no classifier"),
        (lambda m: m["input"].update(channels=["a", "b", "c"]), r"\$\.input\.channels"),
        (lambda m: m["input"].update(shape=[128, 128, 3]), r"\$\.input\.shape"),
        (lambda m: m["golden"]["tolerances"].clear(), "golden.tolerances has none for fp32"),
        (
            lambda m: m["models"]["classifier"]["fp32"].update(sha256="0"),
            r"\$\.models\.classifier\.fp32\.sha256: Expected",
        ),
        (lambda m: m["models"]["classifier"]["fp32"].update(opset=18), r"fp32\.opset.*17, not 18"),
        (lambda m: m["card"].update(file="golden.npz"), "one file has two roles"),
        (lambda m: m["thresholds"].update(mask=0.0), r"\$\.thresholds\.mask"),
        (lambda m: m["batch"].update(min=2), r"\$\.batch\.min: Invalid enum value 2"),
        (lambda m: m["batch"].update(opt=9), r"\$\.batch: .*opt \(9\) is above max \(8\)"),
        (lambda m: m["golden"].update(file="../golden.npz"), r"\$\.golden\.file"),
        (lambda m: m["card"].update(file="/etc/passwd"), r"\$\.card\.file"),
        (lambda m: m["card"].update(file=".hidden"), r"\$\.card\.file"),
    ],
)
def test_a_wrong_field_is_refused_by_its_path(
    bundle: Path, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    edit(bundle, change)
    with pytest.raises(BundleError, match=message):
        open_bundle(bundle)


def test_a_manifest_that_is_no_json_is_refused(bundle: Path) -> None:
    (bundle / "manifest.json").write_bytes(b"{")
    with pytest.raises(BundleError, match="not JSON"):
        open_bundle(bundle)


def test_a_link_out_of_the_folder_is_refused(bundle: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.onnx"
    shutil.move(bundle / FILES[1], outside)
    (bundle / FILES[1]).symlink_to(outside)
    with pytest.raises(BundleError, match="leads out of the bundle"):
        open_bundle(bundle)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no FIFO")
def test_a_fifo_is_refused_without_waiting_for_it(bundle: Path) -> None:
    (bundle / "golden.npz").unlink()
    os.mkfifo(bundle / "golden.npz")
    with pytest.raises(BundleError, match="no regular file"):
        open_bundle(bundle)


def test_weights_outside_the_file_are_refused(tmp_path: Path) -> None:
    model = toy.classifier()
    weight = model.graph.initializer[0]
    onnx.external_data_helper.set_external_data(weight, location="weights.bin")
    weight.ClearField("raw_data")
    manifest, files = toy.parts()
    with pytest.raises(BundleError, match="keeps 1 tensors outside the file"):
        write_bundle(tmp_path / "b", *replaced(manifest, files, model.SerializeToString()))
    assert not (tmp_path / "b").exists()


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    manifest, files = toy.parts()
    with pytest.raises(BundleError, match=r"\$\.models\.classifier\.fp32.*no ONNX model"):
        write_bundle(tmp_path / "b", *replaced(manifest, files, b"\x0b" * 100))


def replaced(manifest: Any, files: dict[str, bytes], classifier: bytes) -> Any:
    """The parts of a bundle with another classifier, hashes and sizes made right."""
    import hashlib

    import msgspec

    entry = manifest.models["classifier"]["fp32"]
    digest = hashlib.sha256(classifier).hexdigest()
    entry = msgspec.structs.replace(entry, sha256=digest, size=len(classifier))
    models = {**manifest.models, "classifier": {"fp32": entry}}
    return (
        msgspec.structs.replace(manifest, models=models),
        {**files, "classifier.fp32.onnx": classifier},
    )


def test_a_zip_with_two_files_of_one_name_is_refused(tmp_path: Path) -> None:
    path = write_bundle(tmp_path / "b.zip", *toy.parts()).path
    with (
        pytest.warns(UserWarning, match="Duplicate name"),
        zipfile.ZipFile(path, "a") as archive,
    ):
        archive.writestr("golden.npz", b"other")
    with pytest.raises(BundleError, match="holds 2 files named golden.npz"):
        open_bundle(path)


@pytest.mark.parametrize("content", [b"", b"not a zip at all", b"PK\x03\x04" + b"\0" * 50])
def test_a_file_that_is_no_zip_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "b.zip"
    path.write_bytes(content)
    with pytest.raises(BundleError, match=r"accepted: a folder or a \.zip"):
        open_bundle(path)


def test_a_destination_that_exists_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    with pytest.raises(OutputError, match="exists already"):
        write_bundle(tmp_path / "b", *toy.parts())
    assert list((tmp_path / "b").iterdir()) == []


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left"):
        write_bundle(tmp_path / "b", *toy.parts())
    assert list(tmp_path.iterdir()) == []


def test_a_file_changed_after_opening_is_seen(bundle: Path) -> None:
    opened = open_bundle(bundle)
    (bundle / FILES[1]).write_bytes((bundle / FILES[2]).read_bytes())
    with pytest.raises(BundleError, match="classifier.fp32"):
        opened.read_model("classifier", "fp32")
