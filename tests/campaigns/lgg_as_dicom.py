"""Every patient of the LGG dataset as DICOM against the same slices as images: the masks.

``python tests/campaigns/lgg_as_dicom.py DATA [--every N] [--from K] [--to L] [--scale exact ...]
[--copies] [--turned]``

Each patient's slices are written as a DICOM study, read back, and run through the default bundle;
so are the slices themselves. A JSON line a patient and scale, then a line a scale. With
``--copies`` every good variant (flipped, reversed, oblique, ...) is read back too, classic and
enhanced, and must give the very slices. With ``--turned`` the study is sampled on a grid turned by
5 degrees in the plane and 2 out of it, as a scanner with tilted slices would, and analysed: how far
volume and centroid are off is told. Reading it interpolates nothing; beside it is told how far off
they are for the straight study's masks, sampled on that grid: what is measured without the models.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import SimpleITK

from scanside import Pipeline, open_bundle
from scanside.assembly.assemble import assemble
from scanside.assembly.choose import choose
from scanside.assembly.collect import collect
from scanside.assembly.rules import load_rules
from scanside.evaluation.layout import find_slices
from scanside.evaluation.slices import DatasetSlice, load_image
from scanside.preprocess import CHANNELS, Window
from scanside.readers.discover import discover
from scanside.study.grid import Grid
from scanside.study.measure import measure
from scanside.study.model import Source, Study, View
from scanside.studyrun import analyse_study
from scanside_training.dicom.plan import SCALES, plan_study
from scanside_training.dicom.variants import GOOD
from scanside_training.dicom.write import KINDS, write_study

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from scanside.study.model import Measures
    from scanside.study.volume import WindowRule
    from scanside_training.dicom.plan import Scale
    from scanside_training.dicom.write import Kind


def patients(data: Path, chosen: slice = slice(None)) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Yield the chosen patients' names and slices, uint8 ``[slices, rows, columns, 3]``."""
    _, found, _ = find_slices(data)
    groups = [(name, list(slices)) for name, slices in groupby(found, key=lambda at: at.patient)]
    for patient, slices in groups[chosen]:
        yield patient, np.stack([load_image(DatasetSlice(*item, tumor_px=0)) for item in slices])


def slices_as_study(images: NDArray[np.uint8]) -> Study:
    """Wrap slices as they are, so that they take the same path through the models."""
    grid = Grid(np.eye(4), (len(images), images.shape[1], images.shape[2]))
    source = Source("FLAIR", grid, Window(0, 255), "")
    straight = View((0, 1, 2), (False, False, False))
    return Study("slices", "nifti", images, grid, straight, (source,))


def read_back(
    images: NDArray[np.uint8],
    folder: Path,
    *,
    scale: Scale = "exact",
    kind: Kind = "classic",
    variant: str = "plain",
    syntax: str = "uncompressed",
    window: WindowRule = "auto",
) -> Study:
    """Write slices as DICOM and read the study back."""
    plans = plan_study(images, study=folder.name, scale=scale)
    write_study(plans, folder, kind=kind, variant=variant, syntax=syntax)
    (study,) = collect(discover([folder], studies=True).studies).studies
    return assemble(choose(study, load_rules()), window=window)


def copies(images: NDArray[np.uint8], folder: Path) -> dict[str, bool]:
    """Say of each good variant whether it is read back as the very slices."""
    found = {}
    for variant in GOOD:
        for kind in KINDS:
            study = read_back(images, folder / f"{variant}_{kind}", kind=kind, variant=variant)
            found[f"{variant} {kind}"] = bool(np.array_equal(study.images, images))
    return found


def turned(images: NDArray[np.uint8], folder: Path, degrees: tuple[float, float]) -> Study:
    """Write the study sampled on a grid turned about two axes, and read it back.

    By cubic splines: to interpolate linearly between slices would blur them as no scanner does.
    """
    plans = []
    for plan in plan_study(images, study=f"{folder.name} turned"):
        assert plan.window is not None
        low, high = plan.window
        affine = _turn((0, 1), degrees[0]) @ _turn((1, 2), degrees[1]) @ plan.grid.affine
        grid = replace(plan.grid, affine=affine)
        grey = images[..., CHANNELS.index(plan.sequence)]
        levels = np.clip(_sampled(grey, plan.grid, grid, SimpleITK.sitkBSpline3), 0, 255)
        values = (levels * (high - low) / 255 + low - plan.intercept) / plan.slope
        plans.append(replace(plan, stored=np.rint(values).astype(np.uint16), grid=grid))
    write_study(plans, folder)
    (study,) = collect(discover([folder], studies=True).studies).studies
    return assemble(choose(study, load_rules()))


def _sampled(
    values: NDArray[np.uint8], grid: Grid, wanted: Grid, interpolator: int
) -> NDArray[np.float32]:
    moved = SimpleITK.Resample(
        _image(values, grid), _image(np.zeros(wanted.shape, np.uint8), wanted),
        SimpleITK.Transform(), interpolator, 0.0,
    )  # fmt: skip
    found: NDArray[np.float32] = SimpleITK.GetArrayFromImage(moved)
    return found


def _image(values: NDArray[np.uint8], grid: Grid) -> SimpleITK.Image:
    made = SimpleITK.GetImageFromArray(values.astype(np.float32))
    steps = np.linalg.norm(grid.affine[:3, :3], axis=0)
    made.SetSpacing(steps.tolist())
    made.SetDirection((grid.affine[:3, :3] / steps).ravel().tolist())
    made.SetOrigin(grid.affine[:3, 3].tolist())
    return made


def _turn(axes: tuple[int, int], degrees: float) -> NDArray[np.float64]:
    angle = np.radians(degrees)
    matrix = np.eye(4)
    matrix[np.ix_(axes, axes)] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return matrix


def dice(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """Return the Dice coefficient; 1 for two empty masks."""
    total = int(first.sum() + second.sum())
    return 1.0 if total == 0 else 2 * int((first & second).sum()) / total


def main() -> None:
    """Run the campaign."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--from", type=int, default=0, dest="start")
    parser.add_argument("--to", type=int)
    parser.add_argument("--copies", action="store_true")
    parser.add_argument("--turned", action="store_true")
    parser.add_argument("--scale", nargs="+", choices=SCALES, default=["exact", "odd"])
    options = parser.parse_args()
    found: dict[str, list[float]] = {scale: [] for scale in options.scale}
    wrong = False
    chosen = slice(options.start, options.to, options.every)
    with Pipeline.open(open_bundle(), backend="cpu", streaming=True) as pipeline:
        for patient, images in patients(options.data, chosen):
            wanted = analyse_study(slices_as_study(images), pipeline).masks
            for scale in options.scale:
                with tempfile.TemporaryDirectory() as folder:
                    study = read_back(images, Path(folder) / patient, scale=scale)
                grey = int(np.abs(images.astype(int) - study.images).max())
                # The models see the very images again where no grey level differs.
                masks = analyse_study(study, pipeline).masks if grey else wanted
                found[scale].append(dice(masks, wanted))
                row = {
                    "patient": patient, "scale": scale, "dice": round(found[scale][-1], 5),
                    "identical": bool(np.array_equal(masks, wanted)),
                    "grey": grey,
                    "voxels": int(wanted.sum()),
                }  # fmt: skip
                print(json.dumps(row), flush=True)
            with tempfile.TemporaryDirectory() as folder:
                if options.copies:
                    different = [name for name, same in copies(images, Path(folder)).items()
                                 if not same]  # fmt: skip
                    wrong |= bool(different)
                    print(json.dumps({"patient": patient, "different": different}), flush=True)
                if options.turned:
                    row = _turned_row(images, wanted, Path(folder) / patient, pipeline)
                    print(json.dumps({"patient": patient, **row}), flush=True)
    for scale, values in found.items():
        summary = {"scale": scale, "patients": len(values), "lowest": min(values),
                   "mean": float(np.mean(values))}  # fmt: skip
        print(json.dumps(summary))
    sys.exit(wrong or any(value < 1 for value in found.get("exact", [])))


def _turned_row(
    images: NDArray[np.uint8], masks: NDArray[np.bool_], folder: Path, pipeline: Pipeline
) -> dict[str, Any]:
    """Compare what is measured on the turned study with what is on the plain one."""
    straight = plan_study(images, study=folder.name)[0].grid
    wanted = measure(masks, straight)
    study = turned(images, folder, (5.0, 2.0))
    region = _sampled(masks.astype(np.uint8), straight, study.grid, SimpleITK.sitkLinear) >= 0.5
    return {
        "ml": round(wanted.volume_ml, 2),
        "models": _away(analyse_study(study, pipeline).measures, wanted),
        "same region": _away(measure(region, study.grid), wanted),
    }


def _away(found: Measures, wanted: Measures) -> list[float] | None:
    """Return by what share the volume is off, and by how many voxels the centroid, at most."""
    if wanted.centroid_mm is None or found.centroid_mm is None:
        return None
    moved = np.abs(np.subtract(found.centroid_mm, wanted.centroid_mm)) / (0.9, 0.9, 5.0)
    return [round(found.volume_ml / wanted.volume_ml - 1, 4), round(float(moved.max()), 2)]


if __name__ == "__main__":
    main()
