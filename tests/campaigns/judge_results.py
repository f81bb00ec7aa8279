"""The results of real patients' studies before dciodvfy and dcmqi.

``python tests/campaigns/judge_results.py DATA [--every N] [--kind KIND ...] [--variant NAME ...]``

Each patient's slices of a labelled dataset are written as a DICOM study and run through the default
bundle, with overlays and the NIfTI mask. dciodvfy looks at every object; dcmqi, where it is found
(``SCANSIDE_DCMQI``), reads the segmentation, which must be the NIfTI mask on the same grid. A JSON
line a study, then one line in all; the exit code is 1 if anything was found.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from itertools import product
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

SCANSIDE = [sys.executable, "-m", "scanside"]


def main() -> int:
    """Judge, print, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="a folder with a folder a patient")
    parser.add_argument("--every", type=int, default=1, help="only every Nth patient")
    parser.add_argument("--kind", nargs="+", default=["classic", "enhanced"])
    parser.add_argument("--variant", nargs="+", default=["plain"])
    arguments = parser.parse_args()
    patients = sorted(path.name for path in arguments.data.iterdir() if path.is_dir())
    total = {"studies": 0, "objects": 0, "errors": 0, "masks_read": 0, "masks_differ": 0}
    for patient, kind, variant in product(
        patients[:: arguments.every], arguments.kind, arguments.variant
    ):
        with tempfile.TemporaryDirectory() as scratch:
            made = ["--patient", patient, "--kind", kind, "--variant", variant]
            found = judged(arguments.data, made, Path(scratch))
        print(json.dumps({"patient": patient, "kind": kind, "variant": variant, **found}))
        total["studies"] += 1
        total["objects"] += found["objects"]
        total["errors"] += len(found["errors"])
        total["masks_read"] += found["same_mask"] is not None
        total["masks_differ"] += found["same_mask"] is False
    print(json.dumps(total))
    return int(total["errors"] + total["masks_differ"] > 0)


def judged(data: Path, made: list[str], scratch: Path) -> dict[str, Any]:
    """Make a study, run it, and hand what was written to the judges."""
    study, output = scratch / "study", scratch / "out"
    call([*SCANSIDE, "data", "to-dicom", data, *made, "--output", study])
    call([*SCANSIDE, "run", study, "--output", output, "--write", "overlays,nifti"])
    files = sorted(output.glob("dicom/*/*.dcm"))
    errors = [
        line
        for file in files
        for line in call(["dciodvfy", "-new", file], check=False).splitlines()
        if line.startswith("Error")
    ]
    return {"objects": len(files), "errors": errors, "same_mask": same_mask(output, scratch)}


def same_mask(output: Path, scratch: Path) -> bool | None:
    """Whether dcmqi reads the NIfTI mask off the segmentation; none without either."""
    places = os.environ.get("SCANSIDE_DCMQI", "") + os.pathsep + os.environ["PATH"]
    reader = shutil.which("segimage2itkimage", path=places)
    segmentation = next(output.glob("dicom/*/seg_*.dcm"), None)
    if reader is None or segmentation is None:
        return None
    call([reader, "--inputDICOM", segmentation, "--outputDirectory", scratch, "-t", "nifti"])
    theirs = nibabel.load(scratch / "1.nii.gz")
    ours = nibabel.load(next(output.glob("nifti/*.nii.gz")))
    same_grid = theirs.shape == ours.shape and np.allclose(theirs.affine, ours.affine, atol=1e-3)
    return bool(same_grid and np.array_equal(np.asarray(theirs.dataobj), np.asarray(ours.dataobj)))


def call(command: list[str | Path], *, check: bool = True) -> str:
    """Run a command and return what it prints on both streams."""
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, text=True
    )
    if check and done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}\n{done.stdout}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
