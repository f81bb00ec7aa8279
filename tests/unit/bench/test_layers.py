"""Times of layers: by backends that have them, and the table."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from scanside.bench.layers import check_profiles, layer_lines, time_layers
from scanside.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from command import Done


class Profiled:
    name = "tensorrt"

    def profile_layers(self, images: Any, runs: int) -> dict[str, dict[str, list[float]]]:
        assert images.shape == (1, 256, 256, 3)
        many = {f"layer {n}": [float(n)] * runs for n in range(20)}
        return {"classifier": {"conv": [1.0, 9.0, 3.0], "relu": [1.0] * 3}, "segmenter": many}


def test_each_layer_has_its_median_and_its_share() -> None:
    found = time_layers(Profiled(), np.zeros((256, 256, 3), np.uint8))
    (conv, relu) = found["classifier"]
    assert (conv.name, conv.median_ms, conv.share) == ("conv", 3.0, 0.75)
    assert (relu.median_ms, relu.share) == (1.0, 0.25)
    lines = list(layer_lines(found))
    assert lines[0].startswith("classifier: 2 layers, 4.000 ms")
    assert lines[1].split() == ["3.000", "ms", "75.0%", "conv"]
    assert "  and 8 more, in --json" in lines
    assert [line for line in lines if "layer 19" in line]
    assert not [line for line in lines if line.endswith("layer 3")]


def test_a_backend_that_cannot_is_told_before_anything_is_measured(
    toy_path: Path, scanside: Callable[..., Done]
) -> None:
    with pytest.raises(UsageError, match="cpu backend"):
        check_profiles(SimpleNamespace(name="cpu"))
    done = scanside("bench", toy_path, "--backend", "cpu", "--profile-layers")
    assert done.code == 2
    assert "accepted: --profile-layers with --backend tensorrt" in done.err
