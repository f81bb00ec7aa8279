"""Whether it pays to begin the segmentation before the classifier has answered.

Neighbouring slices are alike: after a positive slice the next is positive more often than not. On
the latency path the segmenter could start speculatively beside the classifier, each on half of the
cores, where it otherwise waits and then has all of them. This measures both ways, slice by slice
in the patients' order, interleaved, and prints the medians as JSON.

    python benchmarks/speculation.py FOLDER [--bundle B] [--slices 300]
"""

from __future__ import annotations

import argparse
import json
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from scanside import open_bundle
from scanside.backends.onnxruntime import load
from scanside.evaluation.dataset import index_dataset, load_image
from scanside.preprocess import preprocess

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scanside.bundle import Bundle

    Image = NDArray[np.uint8]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--slices", type=int, default=300)
    options = parser.parse_args()
    bundle = open_bundle(options.bundle)
    items = index_dataset(options.folder).slices[: options.slices]
    images = [preprocess(load_image(item))[0][np.newaxis] for item in items]

    print(json.dumps(_measured(bundle, images), indent=2))


def _measured(bundle: Bundle, images: list[Image]) -> dict[str, object]:
    gate = bundle.manifest.thresholds.gate
    precision = bundle.manifest.default_precision
    whole = load(bundle, precision)  # one call at a time, on all cores
    halves = load(bundle, precision, lanes=2)  # two calls at a time, on half of the cores each
    with ThreadPoolExecutor(1) as pool:

        def one_after_the_other(image: Image, _: bool) -> None:  # noqa: FBT001
            if whole.classify(image)[0, 0] >= gate:
                whole.segment(image)

        def speculative(image: Image, expected: bool) -> None:  # noqa: FBT001
            if not expected:
                one_after_the_other(image, expected)
                return
            begun = pool.submit(halves.segment, image)
            halves.classify(image)
            begun.result()  # a run that was begun can't be taken back

        positive = [bool(whole.classify(image)[0, 0] >= gate) for image in images]
        expected = [False, *positive[:-1]]
        ways = {"one after the other": one_after_the_other, "speculative": speculative}
        taken: dict[str, list[float]] = {name: [] for name in ways}
        for image in images[:10]:
            one_after_the_other(image, _=True)
            speculative(image, expected=True)
        for image, likely in zip(images, expected, strict=True):
            for name, way in ways.items():
                begun = time.perf_counter()
                way(image, likely)
                taken[name].append((time.perf_counter() - begun) * 1e3)
    return _summary(taken, positive)


def _summary(taken: dict[str, list[float]], positive: list[bool]) -> dict[str, object]:
    hits = sum(now and before for before, now in pairwise(positive))
    expected = sum(positive[:-1])
    classes = {"positive": True, "negative": False}
    return {
        "slices": len(positive),
        "positive_share": round(sum(positive) / len(positive), 3),
        "expected_and_positive": round(hits / max(1, expected), 3),
        "median_ms": {
            name: {
                label: round(
                    median(ms for ms, each in zip(times, positive, strict=True) if each is wanted),
                    2,
                )
                for label, wanted in classes.items()
            }
            for name, times in taken.items()
        },
        "mean_ms": {name: round(sum(times) / len(times), 2) for name, times in taken.items()},
    }


if __name__ == "__main__":
    main()
