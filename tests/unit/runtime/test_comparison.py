"""The parts of a comparison, each by itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import msgspec
import numpy as np
import pytest

from scanside.comparison.labelled import FIGURES, Labelled
from scanside.comparison.limits import Limits, judge
from scanside.comparison.pairs import Half, Pair, Runner, compare_pair
from scanside.comparison.pictures import A_BGR, B_BGR, picture_png
from scanside.comparison.records import Side, SlicePair
from scanside.comparison.sides import open_side, parse_side
from scanside.comparison.slices import ReadSlice
from scanside.comparison.totals import Totals
from scanside.comparison.worst import WorstSlices
from scanside.contract import Thresholds
from scanside.errors import BundleError, UsageError
from scanside.pipeline import Pipeline, Result, prepare
from scanside.postprocess import outline

if TYPE_CHECKING:
    from numpy.typing import NDArray

THRESHOLDS = Thresholds(gate=0.3, decision=0.9, mask=0.5, chosen="by hand")
SIDE = Side(
    asked="fp32", bundle="toy 1", bundle_sha256="0", backend="cpu", precision="fp32",
    fallback=None, computed_by={}, gate=0.3, decision=0.9, mask=0.5,
)  # fmt: skip


class Fixed:
    """A backend that gives what it was told."""

    name, precision = "fixed", "fp32"

    def __init__(self, probability: float, square: int, value: float = 0.9) -> None:
        self._probability = probability
        self._plane = np.zeros((1, 256, 256), np.float32)
        self._plane[0, :square, :square] = value
        self.segmented = 0

    def classify(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.full((len(images), 1), self._probability, np.float32)

    def segment(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:  # noqa: ARG002
        self.segmented += 1
        return self._plane


def compared(one: Fixed, other: Fixed, gates: tuple[float, float] = (0.3, 0.3)) -> Pair:
    pipelines = [
        Pipeline(backend, msgspec.structs.replace(THRESHOLDS, gate=gate))  # type: ignore[arg-type]
        for backend, gate in zip((one, other), gates, strict=True)
    ]
    pixels = np.zeros((256, 256, 3), np.uint8)
    read = ReadSlice(Path("s.png"), "s.png", 0, pixels=pixels, prepared=prepare(pixels))
    assert read.prepared is not None
    return compare_pair(read, Runner(pipelines).run(read.prepared), mm2_per_px=0.25)


def summed(*pairs: Pair) -> Totals:
    totals = Totals((0.3, 0.3))
    for pair in pairs:
        totals.add(pair)
    return totals


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("int8", (None, "int8", "auto")),
        ("default", (None, None, "auto")),
        ("fp32@cpu", (None, "fp32", "cpu")),
        (":fp16", (None, "fp16", "auto")),
        ("@cpu", (None, None, "cpu")),
        ("a/b:int8@openvino", (Path("a/b"), "int8", "openvino")),
        ("./int8", (Path("int8"), None, "auto")),
        ("me@home/b.zip:fp32", (Path("me@home/b.zip"), "fp32", "auto")),
        ("a:b/", (Path("a:b"), None, "auto")),
        ("x@y/", (Path("x@y"), None, "auto")),
    ],
)
def test_a_side_is_read(text: str, wanted: tuple[object, ...]) -> None:
    assert parse_side(text) == (text, *wanted)


@pytest.mark.parametrize("text", ["", "a:int4", "int8:fp32", "b@", "a:", "C:bundle"])
def test_a_side_that_makes_no_sense_is_refused_with_what_is_accepted(text: str) -> None:
    with pytest.raises(UsageError, match=r"\[BUNDLE\]\[:PRECISION\]\[@BACKEND\]"):
        parse_side(text)


def test_a_bundle_that_is_missing_or_holds_no_such_precision_is_refused(toy_path: Path) -> None:
    with pytest.raises(BundleError, match=r"B is 'int4': no bundle is at int4.*BUNDLE"):
        open_side("B", parse_side("int4"))
    with pytest.raises(BundleError, match="A is .* holds no int8; accepted: fp32"):
        open_side("A", parse_side(f"{toy_path}:int8"))


def test_a_gate_flip_does_not_hide_the_outlines() -> None:
    pair = compared(Fixed(0.2, 20), Fixed(0.4, 10))
    record = pair.record
    assert record.gate_flip
    assert record.decision_flip
    assert record.a is not None
    assert record.b is not None
    assert (record.a.segmented, record.a.tumor, record.a.area_px) == (False, False, 400)
    assert (record.b.segmented, record.b.tumor, record.b.area_px) == (True, True, 100)
    assert record.b.area_mm2 == 25.0
    assert record.mask_dice == pytest.approx(2 * 100 / 500)
    assert record.probability_difference == pytest.approx(0.2)
    summary = summed(pair).summary()
    assert (summary.area.mean_px, summary.area.largest_px) == (-300.0, 300)
    (flip,) = summary.gate_flips
    assert (flip.a, flip.b) == ("skipped", "segmented")
    assert (flip.a_probability, flip.b_probability) == pytest.approx((0.2, 0.4))
    assert [(c.a, c.b) for c in summary.decision_flips] == [("no region", "region")]
    assert summary.changed == 1


def test_what_both_gates_skip_is_not_segmented() -> None:
    sides = Fixed(0.1, 20), Fixed(0.2, 20)
    pair = compared(*sides)
    assert [side.segmented for side in sides] == [0, 0]
    assert pair.pixels is None
    summary = summed(pair).summary()
    assert summary.mask_dice.slices == 0
    assert summary.mask_dice.worst is None


def test_each_side_decides_with_its_own_gate() -> None:
    assert compared(Fixed(0.4, 20), Fixed(0.4, 20), gates=(0.3, 0.5)).record.gate_flip
    assert not compared(Fixed(0.4, 20), Fixed(0.6, 20), gates=(0.3, 0.5)).record.gate_flip


def test_small_masks_do_not_count_as_dice() -> None:
    pairs = [compared(Fixed(0.5, 9), Fixed(0.5, 3)), compared(Fixed(0.5, 10), Fixed(0.5, 0))]
    summary = summed(*pairs).summary()
    assert (summary.mask_dice.slices, summary.mask_dice.worst) == (1, 0.0)
    assert summary.area.slices == 2


@pytest.mark.parametrize("probability", [np.nan, np.inf, 1.5])
def test_outputs_that_are_not_finite_are_counted_and_fail_the_limits(probability: float) -> None:
    pairs = [
        compared(Fixed(0.5, 20), Fixed(0.5, 20)),
        compared(Fixed(0.5, 20), Fixed(probability, 20)),
        compared(Fixed(0.5, 20, np.nan), Fixed(0.5, 20)),
    ]
    summary = summed(*pairs).summary()
    assert (summary.a_non_finite.tumor_probability, summary.a_non_finite.mask_probability) == (0, 1)
    assert (summary.b_non_finite.tumor_probability, summary.b_non_finite.mask_probability) == (1, 0)
    assert summary.tumor_probability.slices == 2
    assert len(summary.status_changes) == 2
    judged = judge(summary, Limits(max_probability_difference=1.0, min_dice=0.0, max_flips=2))
    assert [(limit.name, limit.passed) for limit in judged] == [
        ("--max-probability-difference", False),
        ("--min-dice", False),
        ("--max-flips", True),
    ]


def test_limits_are_at_most_and_at_least() -> None:
    summary = summed(compared(Fixed(0.25, 20), Fixed(0.5, 10))).summary()
    kept = judge(summary, Limits(0.25, 2 * 100 / 500, 1))
    broken = judge(summary, Limits(0.2499, 0.41, 0))
    assert [limit.passed for limit in kept] == [True] * 3
    assert [limit.passed for limit in broken] == [False] * 3
    assert judge(summary, Limits()) == []


def test_a_limit_for_which_nothing_was_measured_fails() -> None:
    judged = judge(summed().summary(), Limits(1.0, 0.0, 0))
    assert [limit.passed for limit in judged] == [False, False, True]
    assert judged[1].found == "nothing was measured"


def test_the_worst_are_those_that_differ_most_and_no_more() -> None:
    worst = WorstSlices("kind", 3)
    drawn: list[int] = []
    for n, difference in enumerate([0.1, 0.0, 0.5, 0.3, 0.05, 0.3, 0.9]):
        record = SlicePair(source=str(n), index=0)
        worst.offer(difference, record, lambda n=n: drawn.append(n) or b"%d" % n)  # type: ignore[misc]
    found = worst.results(lambda record: float(record.source))
    assert [(each.source, png) for each, png in found] == [("6", b"6"), ("2", b"2"), ("3", b"3")]
    assert next(each.picture for each, _ in found) == "overlays/kind_01.png"
    assert drawn == [0, 2, 3, 5, 6]


def half(mask: NDArray[np.bool_] | None, probability: float) -> Half:
    region = None if mask is None else outline(mask.astype(np.float32), 0.5)
    result = Result("ok", None, probability, None, mask is not None, region, (), {})
    return Half(result, region, mask_failed=False)


@pytest.mark.parametrize("shape", [(64, 64), (300, 200), (32, 1500)])
def test_a_picture_shows_what_one_side_alone_outlines(shape: tuple[int, int]) -> None:
    grey = np.full((*shape, 3), 100, np.uint8)
    left, right = np.zeros((2, *shape), bool)
    left[:, : shape[1] // 4] = True
    right[:, -(shape[1] // 4) :] = True
    png = picture_png(grey, (half(left, 0.2), half(right, 0.8)))
    picture = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    assert picture.shape[1] <= 3 * 512 + 12
    width = (picture.shape[1] - 12) // 3
    panel = picture[46:, 2 * (width + 6) :]
    middle = panel[panel.shape[0] // 2].astype(int)
    for at, colour in ((width // 8, A_BGR), (-(width // 8), B_BGR)):
        wanted = 0.4 * 100 + 0.6 * np.array(colour)
        assert np.abs(middle[at] - wanted).max() <= 2
    assert (middle[width // 2] == 100).all()


def labelled(one: list[float], other: list[float]) -> Labelled:
    tally = Labelled((SIDE, msgspec.structs.replace(SIDE, gate=0.5)))
    lesion, empty = np.zeros((2, 20, 20), np.uint8)
    lesion[:10] = 1
    for patient in range(4):
        for n, (a, b) in enumerate(zip(one, other, strict=True)):
            truth = lesion if n % 2 else empty
            found = truth.astype(bool)
            tally.add(f"p{patient}", truth, (half(found, a), half(found, b)))
    return tally


def test_against_the_truth_each_side_has_its_own_gate() -> None:
    found = labelled([0.1, 0.4, 0.2, 0.9], [0.1, 0.4, 0.2, 0.9]).labels(resamples=20)
    figures = found.figures
    assert (found.patients, found.slices, found.positive, found.left_out) == (4, 16, 8, 0)
    assert set(figures) == set(FIGURES)
    assert figures["auc"].a.value == figures["auc"].b.value == 1.0
    sensitivity = figures["lesion_sensitivity"]
    assert (sensitivity.a.value, sensitivity.b.value) == (1.0, 0.5)
    assert sensitivity.difference == figures["sensitivity"].difference
    assert (sensitivity.difference.value, sensitivity.difference.high) == (-0.5, -0.5)
    assert figures["volume_dice"].b.value == pytest.approx(2 * 200 / (200 + 400))


def test_equal_sides_differ_by_nothing_in_any_resample() -> None:
    tally = Labelled((SIDE, SIDE))
    random = np.random.default_rng(3)
    for patient in range(6):
        for _ in range(8):
            truth = (random.random((20, 20)) < random.random() - 0.4).astype(np.uint8)
            mask = random.random((20, 20)) < 0.4
            both = half(mask, float(random.random()))
            tally.add(f"p{patient}", truth, (both, both))
    for figure in tally.labels(resamples=50).figures.values():
        assert figure.a == figure.b
        difference = figure.difference
        assert (difference.value, difference.low, difference.high) == (0.0, 0.0, 0.0)


def test_a_slice_that_is_not_finite_on_one_side_is_left_out_on_both() -> None:
    tally = Labelled((SIDE, SIDE))
    mask = np.ones((20, 20), bool)
    bad = half(mask, 0.5)._replace(region=None, mask_failed=True)
    tally.add("p", mask.astype(np.uint8), (half(mask, 0.5), bad))
    found = tally.labels(resamples=5)
    assert (found.left_out, found.slices, found.figures) == (1, 0, {})
