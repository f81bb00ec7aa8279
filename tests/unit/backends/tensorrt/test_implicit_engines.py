"""Engines whose INT8 ranges TensorRT chose: used where there are no others, and said."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from scanside.backends.tensorrt import _found
from scanside.backends.tensorrt.backend import _named
from scanside.enginematch import IMPLICIT, Wanted
from scanside.engines import EngineKey, Sidecar, write_engine
from scanside.errors import EngineError

if TYPE_CHECKING:
    from pathlib import Path

    from scanside.bundle import Bundle
    from scanside.contract import ModelFile

INT8, FP32 = "1" * 64, "f" * 64
WANTED = Wanted(INT8, "tensorrt", "8.6.1", "Orin", "8.7", "int8")


@pytest.fixture
def floating(bundle: Bundle) -> ModelFile:
    return msgspec.structs.replace(bundle.model("classifier", "fp32"), sha256=FP32)


def keep(folder: Path, model: str, **settings: str) -> Sidecar:
    key = EngineKey(
        model_sha256=model, runtime="tensorrt", runtime_version="8.6.1", gpu_name="Orin",
        compute_capability="8.7", precision="int8", profile=(1, 1, 1), settings=settings,
    )  # fmt: skip
    plan = model.encode()
    sidecar = Sidecar(
        key=key, plan_sha256=hashlib.sha256(plan).hexdigest(), size=len(plan),
        built="2026-01-01T00:00:00Z", command="tests", seconds=0.0,
    )  # fmt: skip
    write_engine(folder, key, plan, sidecar)
    return sidecar


def test_one_of_the_fp32_model_is_taken_where_there_is_no_other(
    tmp_path: Path, floating: ModelFile
) -> None:
    implicit = keep(tmp_path, FP32, **{IMPLICIT: "a" * 64})
    assert _found(tmp_path, WANTED, floating) == implicit
    assert "chosen by TensorRT" in _named(implicit)
    explicit = keep(tmp_path, INT8)
    assert _found(tmp_path, WANTED, floating) == explicit
    assert _named(explicit) == explicit.key.digest[:12]


@pytest.mark.parametrize("change", [{"precision": "fp16"}, {"gpu_name": "Thor"}])
def test_it_has_to_fit_as_any_other(
    change: dict[str, Any], tmp_path: Path, floating: ModelFile
) -> None:
    keep(tmp_path, FP32, **{IMPLICIT: "a" * 64})
    with pytest.raises(EngineError, match="none of 1 engines"):
        _found(tmp_path, WANTED._replace(**change), floating)
    with pytest.raises(EngineError):
        _found(tmp_path, WANTED, None)
