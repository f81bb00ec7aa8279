"""The results of real patients' studies before programs and libraries that nobody here wrote.

``python tests/campaigns/judge_results.py DATA [--from K] [--to L] [--kind KIND ...]
[--variant NAME ...]``

Each patient's slices of a labelled dataset are written as a DICOM study and run through the default
bundle, with overlays and the NIfTI mask. Of every study:

- dciodvfy finds no error in any object;
- highdicom reads the segmentation as the NIfTI mask on the grid of the FLAIR series, which
  highdicom reads too;
- dcmqi reads it as the same mask on the same grid;
- Orthanc takes every object from ``storescu -R`` and gives back the same data sets.

A JSON line a study, then one line in all; the exit code is 1 if anything was found. A judge that is
not installed is left out, which its null says.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from itertools import product
from pathlib import Path
from typing import Any

import highdicom
import nibabel
import numpy as np

from node.place import Orthanc

DCMQI = Path(__file__).parents[2] / ".venv-dcmqi" / "bin"
"""What ``make dcmqi`` sets up."""

SCANSIDE = [sys.executable, "-m", "scanside"]


def main() -> int:
    """Judge, print, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="a folder with a folder a patient")
    parser.add_argument("--from", type=int, default=0, dest="start", help="[default: the first]")
    parser.add_argument("--to", type=int, help="[default: all]")
    parser.add_argument("--kind", nargs="+", default=["classic", "enhanced"])
    parser.add_argument("--variant", nargs="+", default=["plain"])
    arguments = parser.parse_args()
    patients = sorted(path.name for path in arguments.data.iterdir() if path.is_dir())
    total = Counter[str]()
    for patient, kind, variant in product(
        patients[arguments.start : arguments.to], arguments.kind, arguments.variant
    ):
        with tempfile.TemporaryDirectory() as scratch:
            made = ["--patient", patient, "--kind", kind, "--variant", variant]
            found = judged(arguments.data, made, Path(scratch))
        print(json.dumps({"patient": patient, "kind": kind, "variant": variant, **found}))
        sys.stdout.flush()
        total["studies"] += 1
        total["objects"] += found["objects"]
        total["dciodvfy errors"] += len(found["dciodvfy"] or ())
        for judge in ("highdicom", "dcmqi", "orthanc"):
            total[f"{judge} same"] += found[judge] is True
            total[f"{judge} differs"] += found[judge] is False
    print(json.dumps(total))
    return int(any(total[name] for name in total if name.endswith((" errors", " differs"))))


def judged(data: Path, made: list[str], scratch: Path) -> dict[str, Any]:
    """Make a study, run it, and hand what was written to the judges."""
    study, output = scratch / "study", scratch / "out"
    call([*SCANSIDE, "data", "to-dicom", data, *made, "--output", study])
    call([*SCANSIDE, "run", study, "--output", output, "--write", "overlays,nifti"])
    objects = sorted(output.glob("dicom/*/*.dcm"))
    mask = nibabel.load(next(output.glob("nifti/*.nii.gz")))
    segmentation = next((path for path in objects if path.name.startswith("seg_")), None)
    return {
        "objects": len(objects),
        "region": segmentation is not None,
        "dciodvfy": dciodvfy(objects),
        "highdicom": segmentation and read_by_highdicom(segmentation, study, mask),
        "dcmqi": segmentation and read_by_dcmqi(segmentation, mask, scratch),
        "orthanc": kept_by_orthanc(objects, scratch),
    }


def dciodvfy(objects: list[Path]) -> list[str] | None:
    """What dciodvfy calls an error."""
    if shutil.which("dciodvfy") is None:
        return None
    said = [call(["dciodvfy", "-new", file], check=False) for file in objects]
    return [line for text in said for line in text.splitlines() if line.startswith("Error")]


def read_by_highdicom(segmentation: Path, study: Path, mask: nibabel.Nifti1Image) -> bool:
    """Whether highdicom reads the mask, on the grid on which it reads the frames it refers to."""
    read = highdicom.seg.segread(segmentation)
    referred = {
        frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        for frame in read.PerFrameFunctionalGroupsSequence
    }
    files = [highdicom.imread(path) for path in sorted(study.rglob("*.dcm"))]
    flair = [image for image in files if image.SOPInstanceUID in referred]
    source = flair[0].get_volume() if len(flair) == 1 else highdicom.get_volume_from_series(flair)
    # A NIfTI array is [column, row, slice]; its affine counts to the right and to anterior.
    affine = (np.diag([-1.0, -1.0, 1.0, 1.0]) @ mask.affine)[:, [2, 1, 0, 3]]
    ours = highdicom.Volume(
        np.asarray(mask.dataobj).transpose(2, 1, 0), affine, coordinate_system="PATIENT"
    )
    theirs, ours = (
        volume.match_geometry(source, tol=1e-3)
        for volume in (read.get_volume(combine_segments=True), ours)
    )
    return bool(np.array_equal(theirs.array, ours.array))


def read_by_dcmqi(segmentation: Path, mask: nibabel.Nifti1Image, scratch: Path) -> bool | None:
    """Whether dcmqi reads the same mask on the same grid."""
    places = [os.environ.get("SCANSIDE_DCMQI", ""), str(DCMQI), os.environ["PATH"]]
    reader = shutil.which("segimage2itkimage", path=os.pathsep.join(places))
    if reader is None:
        return None
    call([reader, "--inputDICOM", segmentation, "--outputDirectory", scratch, "-t", "nifti"])
    theirs = nibabel.load(scratch / "1.nii.gz")
    same_grid = theirs.shape == mask.shape and np.allclose(theirs.affine, mask.affine, atol=1e-3)
    return bool(same_grid and np.array_equal(np.asarray(theirs.dataobj), np.asarray(mask.dataobj)))


def kept_by_orthanc(objects: list[Path], scratch: Path) -> bool | None:
    """Whether Orthanc takes all objects and gives back the same data sets."""
    # The system's: pynetdicom has a storescu of its own, without -R, in the environment.
    send = shutil.which("storescu", path=os.pathsep.join(["/usr/bin", os.environ["PATH"]]))
    if Orthanc.program() is None or send is None:
        return None
    pacs = Orthanc(scratch / "pacs")
    pacs.start()
    try:
        # -R: propose only what the files need.
        call([send, "-R", "-aec", "ORTHANC", "127.0.0.1", str(pacs.port), *objects])
        kept = [data_set(pacs.get(f"/instances/{name}/file")) for name in pacs.get("/instances")]
    finally:
        pacs.stop()
    return sorted(kept) == sorted(data_set(file.read_bytes()) for file in objects)


def data_set(content: bytes) -> bytes:
    """Return a file after its meta information, which names whoever wrote the file."""
    length = int.from_bytes(content[140:144], "little")
    return content[144 + length :]


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
