"""`scanside build` with the real TensorRT on the real device, and what the backend refuses."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from small import SMALL

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from command import Done

pytestmark = [pytest.mark.gpu, pytest.mark.slow]

CONVOLUTIONS = {"classifier": 53, "segmenter": 28}


def test_every_convolution_of_the_int8_engines_is_int8(
    built: Path, scanside: Callable[..., Done], tmp_path: Path
) -> None:
    assert built
    done = scanside("build", "--rebuild", "--json", tmp_path / "build.json")
    assert done.code == 0, done.err
    for engine in json.loads((tmp_path / "build.json").read_bytes())["engines"]:
        kinds = engine["sidecar"]["layers"]
        convolutions = {name: n for name, n in kinds.items() if name.startswith("convolution")}
        assert sum(convolutions.values()) == CONVOLUTIONS[engine["role"]], kinds
        assert all(name.startswith("convolution Int8") for name in convolutions), kinds


def test_what_is_there_is_not_built_again(built: Path, scanside: Callable[..., Done]) -> None:
    assert built
    done = scanside("build")
    assert done.code == 0, done.err
    assert done.err.count("there already") == 2


def test_fp32_engines_compute_what_the_bundle_recorded(
    built: Path, scanside: Callable[..., Done]
) -> None:
    assert built
    done = scanside("build", SMALL, "--precision", "fp32")
    assert done.code == 0, done.err
    verified = scanside("verify", SMALL, "--precision", "fp32", "--backend", "tensorrt")
    assert verified.code == 0, verified.err + verified.out


@pytest.mark.parametrize("harm", ["flip", "cut", "sidecar"])
def test_a_damaged_engine_is_refused_with_4_and_built_again_when_told(
    harm: str, built: Path, scanside: Callable[..., Done]
) -> None:
    plan = sorted(built.glob("engines/*.plan"))[0]
    kept = {file: file.read_bytes() for file in (plan, plan.with_suffix(".json"))}
    content = bytearray(kept[plan])
    if harm == "flip":
        content[len(content) // 2] ^= 1
        plan.write_bytes(content)
    elif harm == "cut":
        plan.write_bytes(content[:-1])
    else:
        plan.with_suffix(".json").write_text("{}")
    try:
        done = scanside("verify", "--backend", "tensorrt")
        assert done.code == 4
        assert "scanside build" in done.err
        assert scanside("build").code == 0
        assert scanside("verify", "--backend", "tensorrt").code == 0
    finally:
        for file, held in kept.items():
            file.write_bytes(held)
