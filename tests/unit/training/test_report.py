"""The page, its plots and its pictures."""

from __future__ import annotations

import math
import re
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from scanside.contract import Thresholds
from scanside.errors import ExtraNotInstalledError
from scanside.evaluation.dataset import DatasetSlice
from scanside.evaluation.metrics import Overlap
from scanside_training.document import Metrics, Models, Subject, build_metrics
from scanside_training.evaluate import Patient, by_patient
from scanside_training.measure import Measured
from scanside_training.report import report_html
from scanside_training.report_pictures import Shown, choose, picture
from scanside_training.report_plots import plots, require_matplotlib


def _measured(patient: str, number: int, true: int, dice: float) -> Measured:
    common = round(dice * true)
    item = DatasetSlice(patient, number, Path("x.png"), None, true)
    counts = Overlap(common, true, true)
    return Measured(item, min(1.0, true / 1000), counts, 1.0 if true else math.nan)


MEASURED = [
    _measured(patient, number, true, dice)
    for patient in ("A & <b>", "B", "C", "D", "E", "F")
    for number, (true, dice) in enumerate(
        [(0, 0), (50, 0.1), (800, 0.9 if patient < "C" else 0.7), (400, 0.5), (0, 0)], 1
    )
]


def _metrics(measured: list[Measured]) -> tuple[Metrics, tuple[Patient, ...]]:
    patients = by_patient(measured)
    models = Models(
        name="toy <1>",
        sha256={"manifest.json": "0" * 64},
        backend="cpu",
        precision="fp32",
        versions={"onnxruntime": "1"},
        license="CC BY-NC-SA 4.0",
        license_notice="Not for commercial use.",
    )
    subject = Subject(
        dataset_sha256="1" * 64, part="test", split_seed=1, patients=6, slices=30, positive=18
    )
    thresholds = Thresholds(gate=0.2, decision=0.9, mask=0.5, chosen="by hand")
    return build_metrics(
        patients, models, subject, thresholds, ["A <note>."], resamples=20
    ), patients


@pytest.fixture(scope="module")
def page() -> str:
    metrics, patients = _metrics(MEASURED)
    image = np.zeros((64, 64, 3), np.uint8)
    mask = np.zeros((64, 64), np.uint8)
    pictures = [(shown, picture(image, mask, mask)) for shown in choose(MEASURED)]
    return report_html(metrics, plots(metrics, patients), pictures).decode()


def test_the_page_needs_no_network(page: str) -> None:
    assert not re.findall(r"https?:|//[a-z]", re.sub(r"base64,[^\"]*", "", page))
    sources = re.findall(r'src="([^"]{0,22})', page)
    assert len(sources) == 6 + 12
    assert set(sources) == {"data:image/png;base64,"}
    assert "<script" not in page
    assert "<link" not in page


def test_the_page_says_what_it_must_once(page: str) -> None:
    assert page.count("Not a medical device; research use only.") == 1
    assert page.count("Not for commercial use.") == 1
    assert "FLAIR abnormality" in page
    assert "the test part" in page


def test_names_are_escaped(page: str) -> None:
    assert "<b>" not in page.replace("<b>", "", page.count("<td><b>") + page.count("<p><b>"))
    assert "A &amp; &lt;b&gt;" in page
    assert "toy &lt;1&gt;" in page
    assert "A &lt;note&gt;." in page


def test_every_headline_has_its_figure_and_its_interval(page: str) -> None:
    row = re.search(
        r"<td>Volume Dice, mean over patients<td><b>([\d.]+)</b><td class=ci>(.*?)<", page
    )
    assert row is not None
    metrics, _ = _metrics(MEASURED)
    figure = metrics.figures["pipeline.volume_dice"]
    assert float(row[1]) == pytest.approx(figure.value, abs=5e-4)
    low, high = (float(end) for end in row[2].split(" to "))
    assert low == pytest.approx(figure.low, abs=5e-4)
    assert high == pytest.approx(figure.high, abs=5e-4)


def test_a_part_without_positive_slices_still_has_a_report() -> None:
    metrics, patients = _metrics([each for each in MEASURED if not each.item.positive])
    page = report_html(metrics, plots(metrics, patients), []).decode()
    assert "<td>AUC<td><b>-</b><td class=ci>-" in page


def test_plots_are_pictures_and_come_out_the_same() -> None:
    metrics, patients = _metrics(MEASURED)
    drawn = plots(metrics, patients)
    for title, content in drawn.items():
        image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
        assert image.shape[0] > 300, title
        assert image.std() > 5, title
    many = [_measured(f"P{n:03}", 1, 100 + n, 0.5) for n in range(60)]
    others = plots(*_metrics(many))
    assert set(others) == set(drawn)
    # Names of sixty patients would make the plot as high as a page; the table has them.
    content = others["Volume Dice by patient, after gating"]
    assert cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR).shape[0] < 700
    again = plots(metrics, patients)
    assert again == drawn


def test_the_best_median_and_worst_slices_are_chosen() -> None:
    shown = choose(MEASURED)
    groups = {
        name: [(each.item.patient, each.dice) for each in shown if each.group == name]
        for name in ("best", "median", "worst")
    }
    assert [dice for _, dice in groups["best"]] == pytest.approx([0.9, 0.9, 0.7, 0.7])
    assert [dice for _, dice in groups["median"]] == pytest.approx([0.5] * 4)
    assert [dice for _, dice in groups["worst"]] == pytest.approx([0.1] * 4)
    for chosen in groups.values():
        assert len({patient for patient, _ in chosen}) == len(chosen)


def test_of_missed_slices_the_largest_is_the_worst() -> None:
    missed = [_measured(name, 1, true, 0.0) for name, true in (("A", 50), ("B", 900), ("C", 300))]
    worst = [each.item.patient for each in choose(missed) if each.group == "worst"]
    assert worst == ["B", "C", "A"]
    assert choose([_measured("A", 1, 0, 0)]) == ()


def test_the_outlines_are_green_and_orange_over_flair() -> None:
    image = np.zeros((64, 64, 3), np.uint8)
    image[..., 1] = 100
    true, predicted = np.zeros((2, 64, 64), np.uint8)
    true[10:30, 10:30] = 1
    predicted[40:60, 40:60] = 1
    drawn = cv2.imdecode(np.frombuffer(picture(image, true, predicted), np.uint8), cv2.IMREAD_COLOR)
    assert drawn.shape == (512, 512, 3)
    assert drawn[4, 4].tolist() == [100, 100, 100]
    green, orange = drawn[80, 160].astype(int), drawn[320, 400].astype(int)
    assert green[1] > green[2] + 50
    assert orange[2] > orange[1] + 50
    assert drawn[160, 160].tolist() == [100, 100, 100]


def test_without_matplotlib_the_command_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    require_matplotlib("scanside evaluate")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ExtraNotInstalledError, match=r"pip install 'scanside\[report\]'"):
        require_matplotlib("scanside evaluate")


def test_a_shown_slice_has_its_probability() -> None:
    assert isinstance(choose(MEASURED)[0], Shown)
    assert choose(MEASURED)[0].probability == pytest.approx(0.8)
