"""Engines: read back exactly as written, refused with what differs, never half there."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scanside.engines import (
    EngineKey,
    Sidecar,
    Wanted,
    engine_folder,
    find_engine,
    plan_file,
    read_engine,
    write_engine,
)
from scanside.errors import EngineError, InternalError, OutputError

if TYPE_CHECKING:
    from pathlib import Path

MODEL, OTHER = "a" * 64, "b" * 64
PLAN = bytes(range(256)) * 40


def a_key(**changed: Any) -> EngineKey:
    facts = {
        "model_sha256": MODEL, "runtime": "tensorrt", "runtime_version": "10.3.0",
        "gpu_name": "Orin", "compute_capability": "8.7", "precision": "int8",
        "profile": (1, 1, 4), "settings": {"workspace": "1024"},
    }  # fmt: skip
    return EngineKey(**facts | changed)


def a_sidecar(key: EngineKey, plan: bytes = PLAN, **changed: Any) -> Sidecar:
    facts = {
        "key": key, "plan_sha256": hashlib.sha256(plan).hexdigest(), "size": len(plan),
        "built": "2026-01-01T00:00:00Z", "command": "scanside build toy", "seconds": 1.5,
        "warnings": ("one",), "layers": {"convolution Int8": 3}, "model": "classifier of toy 1",
    }  # fmt: skip
    return Sidecar(**facts | changed)


def wanted(**changed: Any) -> Wanted:
    return Wanted.of(a_key())._replace(**changed)


def keep(folder: Path, plan: bytes = PLAN, **changed: Any) -> Path:
    key = a_key(**changed)
    return write_engine(folder, key, plan, a_sidecar(key, plan))


def test_an_engine_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = keep(tmp_path)
    plan, sidecar = read_engine(tmp_path, a_key())
    assert (plan, sidecar) == (PLAN, a_sidecar(a_key()))
    assert path == plan_file(tmp_path, a_key())
    assert sorted(file.suffix for file in tmp_path.iterdir()) == [".json", ".plan"]
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_folder_lies_in_the_cache_and_is_this_users_alone() -> None:
    assert engine_folder().name == "engines"
    assert engine_folder().stat().st_mode & 0o077 == 0


def test_without_a_cache_folder_it_says_which_variable_names_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("SCANSIDE_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(EngineError, match="SCANSIDE_CACHE"):
        engine_folder()


CHANGES: dict[str, Any] = {
    "model_sha256": OTHER, "runtime": "tensorrt_rtx", "runtime_version": "10.3.1",
    "gpu_name": "Thor", "compute_capability": "11.0", "precision": "fp16", "profile": (1, 2, 4),
    "settings": {"workspace": "2048"},
}  # fmt: skip


@pytest.mark.parametrize("field", EngineKey.__struct_fields__)
def test_the_digest_tells_every_field_apart(field: str) -> None:
    assert a_key(**{field: CHANGES[field]}).digest != a_key().digest


def test_the_digest_does_not_depend_on_the_order_of_settings() -> None:
    there, back = {"x": "1", "y": "2"}, {"y": "2", "x": "1"}
    assert a_key(settings=there).digest == a_key(settings=back).digest


@given(at=st.integers(0, len(PLAN) - 1), bit=st.integers(0, 7))
def test_a_flipped_bit_is_refused(
    tmp_path_factory: pytest.TempPathFactory, at: int, bit: int
) -> None:
    folder = tmp_path_factory.mktemp("engines")
    path = keep(folder)
    damaged = bytearray(PLAN)
    damaged[at] ^= 1 << bit
    path.write_bytes(damaged)
    with pytest.raises(EngineError, match="the plan is damaged.*scanside build"):
        read_engine(folder, a_key())


@pytest.mark.parametrize("size", [0, 1, len(PLAN) - 1])
def test_a_cut_plan_is_refused(tmp_path: Path, size: int) -> None:
    keep(tmp_path).write_bytes(PLAN[:size])
    with pytest.raises(EngineError, match=f"cut: it has {size} bytes; accepted: {len(PLAN)}"):
        read_engine(tmp_path, a_key())


def test_a_longer_plan_is_refused(tmp_path: Path) -> None:
    keep(tmp_path).write_bytes(PLAN * 2)
    with pytest.raises(EngineError, match=f"more than {len(PLAN)} bytes"):
        read_engine(tmp_path, a_key())


@pytest.mark.parametrize(
    ("lost", "said"), [(".json", "the sidecar is missing"), (".plan", "the plan is missing")]
)
def test_half_an_engine_is_refused(tmp_path: Path, lost: str, said: str) -> None:
    keep(tmp_path).with_suffix(lost).unlink()
    with pytest.raises(EngineError, match=said) as refused:
        read_engine(tmp_path, a_key())
    assert refused.value.exit_code == 4


def test_what_was_never_built_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"no such engine.*scanside build"):
        read_engine(tmp_path, a_key())


@pytest.mark.parametrize(
    "sidecar", [b"", b"{", b"[]", b"\xff", b"{" * 100_000, b'{"schema":"scanside.engine/2"}']
)
def test_a_damaged_sidecar_is_refused(tmp_path: Path, sidecar: bytes) -> None:
    keep(tmp_path).with_suffix(".json").write_bytes(sidecar)
    with pytest.raises(EngineError, match="sidecar is damaged"):
        read_engine(tmp_path, a_key())


def test_an_engine_under_the_name_of_another_is_refused(tmp_path: Path) -> None:
    keep(tmp_path, model_sha256=OTHER)
    for suffix in (".json", ".plan"):
        there = plan_file(tmp_path, a_key(model_sha256=OTHER)).with_suffix(suffix)
        there.rename(plan_file(tmp_path, a_key()).with_suffix(suffix))
    with pytest.raises(EngineError, match="another engine: built from another model"):
        read_engine(tmp_path, a_key())


@pytest.mark.parametrize("suffix", [".json", ".plan"])
def test_files_that_others_may_write_to_are_refused(tmp_path: Path, suffix: str) -> None:
    keep(tmp_path).with_suffix(suffix).chmod(0o620)
    with pytest.raises(EngineError, match="others may write"):
        read_engine(tmp_path, a_key())


@pytest.mark.parametrize("suffix", [".json", ".plan"])
def test_links_and_pipes_are_refused(tmp_path: Path, suffix: str) -> None:
    file = keep(tmp_path).with_suffix(suffix)
    file.rename(tmp_path / "elsewhere")
    file.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(EngineError):
        read_engine(tmp_path, a_key())
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(EngineError, match="no regular file"):
        read_engine(tmp_path, a_key())


def test_a_sidecar_of_another_plan_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(InternalError):
        write_engine(tmp_path, a_key(), PLAN + b"x", a_sidecar(a_key()))
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_written_leaves_the_earlier_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(tmp_path)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left"):
        keep(tmp_path, PLAN * 2)
    monkeypatch.undo()
    assert read_engine(tmp_path, a_key())[0] == PLAN
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model_sha256": OTHER}, "another model"),
        ({"runtime_version": "10.13.3"}, "built by TensorRT 10.3.0, here is 10.13.3"),
        ({"runtime": "tensorrt_rtx"}, "built by TensorRT, not TensorRT-RTX"),
        ({"gpu_name": "Thor"}, r"built for Orin \(8.7\), here is Thor"),
        ({"compute_capability": "8.6"}, r"here is Orin \(8.6\)"),
        ({"precision": "fp32"}, "built in int8, not fp32"),
        ({"batch": 5}, "takes 1 to 4 slices"),
    ],
)
def test_what_does_not_fit_is_said(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    keep(tmp_path)
    with pytest.raises(EngineError, match=f"{said}.*scanside build BUNDLE --precision"):
        find_engine(tmp_path, wanted(**change))


def test_the_one_that_fits_is_found_among_others(tmp_path: Path) -> None:
    keep(tmp_path)
    for field, other in CHANGES.items():
        if field not in {"settings", "profile"}:
            keep(tmp_path, **{field: other})
    assert find_engine(tmp_path, wanted()).key == a_key()


def test_of_several_that_fit_the_last_one_built_is_taken(tmp_path: Path) -> None:
    for day, settings in (("03", {"a": "1"}), ("07", {"a": "2"}), ("05", {"a": "3"})):
        key = a_key(settings=settings)
        write_engine(tmp_path, key, PLAN, a_sidecar(key, built=f"2026-01-{day}T00:00:00Z"))
    assert find_engine(tmp_path, wanted()).key.settings == {"a": "2"}


def test_an_empty_folder_says_that_nothing_was_built(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="no engine was built yet for model aaaaaaaaaaaa in int8"):
        find_engine(tmp_path, wanted())


@pytest.mark.parametrize(
    ("built", "here", "found"),
    [
        ("8.6,12.0", "8.6", True), ("8.6,12.0", "12.0", True), ("8.6,12.0", "8.9", False),
        ("8.0+", "8.7", True), ("8.0+", "12.0", True), ("8.0+", "7.5", False),
        ("12.0", "2.0", False),
    ],
)  # fmt: skip
def test_engines_for_compute_capabilities(
    tmp_path: Path, built: str, here: str, *, found: bool
) -> None:
    keep(tmp_path, gpu_name="any", compute_capability=built)
    if found:
        assert find_engine(tmp_path, wanted(compute_capability=here)).key.gpu_name == "any"
    else:
        with pytest.raises(EngineError, match="built for compute capability"):
            find_engine(tmp_path, wanted(compute_capability=here))


@pytest.mark.parametrize(
    ("here", "found"), [("10.3.0", True), ("10.13.3", True), ("10.0.1", False), ("11.0.0", False)]
)
def test_a_version_compatible_engine_loads_in_later_minor_versions(
    tmp_path: Path, here: str, *, found: bool
) -> None:
    keep(tmp_path, settings={"version_compatible": "yes"})
    if found:
        find_engine(tmp_path, wanted(runtime_version=here))
    else:
        with pytest.raises(EngineError, match=f"here is {here}"):
            find_engine(tmp_path, wanted(runtime_version=here))


@pytest.mark.parametrize("profile", [(2, 1, 4), (1, 5, 4)])
def test_a_profile_out_of_order_is_none(profile: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="smallest, best and largest"):
        a_key(profile=profile)


def test_the_sidecar_has_its_schema_and_is_read_by_people(tmp_path: Path) -> None:
    text = keep(tmp_path).with_suffix(".json").read_bytes()
    assert msgspec.json.decode(text)["schema"] == "scanside.engine/1"
    assert text.count(b"\n") > 10
