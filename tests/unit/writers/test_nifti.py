"""Masks as NIfTI: on the grid of the input, whatever its orientation; the same bytes again."""

from __future__ import annotations

import dataclasses
import gzip
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("pydicom", reason="needs the dicom extra")
pytest.importorskip("nibabel", reason="needs the nifti extra")

import nibabel

import mrstudy
from scanside.readers.blobs import Blob
from scanside.readers.nifti import read_nifti
from scanside.writers.nifti import mask_nifti

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from scanside.study.model import Findings

TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def read(content: bytes) -> nibabel.Nifti1Image:
    """A NIfTI file from memory."""
    return nibabel.Nifti1Image.from_bytes(gzip.decompress(content))


def findings(placed: NDArray[np.float64] | None = None, **options: object) -> Findings:
    """Findings of a study of NIfTI files."""
    made = mrstudy.study(placed=placed, slices=6, **options)  # type: ignore[arg-type]
    return mrstudy.findings(dataclasses.replace(made, kind="nifti"))


@given(
    st.permutations(range(3)),
    st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3),
    st.floats(-12, 12),
)
def test_the_mask_lies_on_the_inputs_own_grid(
    axes: Sequence[int], signs: tuple[float, float, float], oblique: float
) -> None:
    """Every order and direction of axes, turned a little."""
    turned = np.eye(4)
    turned[:3, :3] = mrstudy.affine(oblique=oblique)[:3, :3][:, list(axes)] * signs
    turned[:3, 3] = (10.0, -20.0, 30.0)
    made = findings(turned)
    image = read(mask_nifti(made))
    grid = made.study.flair.grid
    assert image.shape == grid.shape[::-1]
    assert np.allclose(TO_LPS @ image.affine, grid.affine, atol=1e-4)
    stored = np.asarray(image.dataobj)
    assert stored.dtype == np.uint8
    # The same voxels in space: the mask's own grid, the file's grid.
    inside = np.argwhere(made.masks)[:, ::-1].astype(float)
    voxels = np.argwhere(stored).astype(float)
    here = made.study.grid.to_patient(inside)
    there = nibabel.affines.apply_affine(TO_LPS @ image.affine, voxels)
    assert np.allclose(here[np.lexsort(here.round(2).T)], there[np.lexsort(there.round(2).T)],
                       atol=1e-3)  # fmt: skip


def test_sform_and_qform_agree_and_units_are_millimetres() -> None:
    image = read(mask_nifti(findings(mrstudy.affine(oblique=20.0))))
    assert np.allclose(image.get_sform(), image.get_qform(), atol=1e-4)
    assert image.header.get_xyzt_units()[0] == "mm"
    assert (int(image.header["sform_code"]), int(image.header["qform_code"])) == (2, 2)
    scanner = read(mask_nifti(mrstudy.findings(mrstudy.study())))
    assert int(scanner.header["sform_code"]) == 1


@pytest.mark.parametrize(("unit", "millimetres"), [("meter", 1000), ("micron", 0.001)])
def test_the_mask_of_a_file_in_other_units_is_in_millimetres_at_its_place(
    tmp_path: Path, unit: str, millimetres: float
) -> None:
    sitk = pytest.importorskip("SimpleITK", reason="the oracle is SimpleITK, which is not here")
    made = findings(mrstudy.affine(oblique=10.0))
    grid = made.study.flair.grid
    affine = np.diag([1 / millimetres] * 3 + [1.0]) @ TO_LPS @ grid.affine
    source = nibabel.Nifti1Image(np.zeros(grid.shape[::-1], np.uint8), affine)
    source.header.set_xyzt_units(unit)
    source.header.set_sform(affine, 1)
    source.to_filename(tmp_path / "flair.nii")
    there = read_nifti(Blob("flair", tmp_path / "flair.nii")).grid
    flair = dataclasses.replace(made.study.flair, grid=there)
    study = dataclasses.replace(made.study, sources=(flair,))
    (tmp_path / "mask.nii.gz").write_bytes(mask_nifti(dataclasses.replace(made, study=study)))
    mask, image = (sitk.ReadImage(str(tmp_path / n)) for n in ("mask.nii.gz", "flair.nii"))
    for name in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
        assert getattr(mask, name)() == pytest.approx(getattr(image, name)(), abs=1e-3)


def test_the_same_findings_give_the_same_bytes() -> None:
    assert mask_nifti(findings()) == mask_nifti(findings())


def test_it_says_what_it_is_and_names_nobody() -> None:
    content = mask_nifti(findings(filled=("pre-contrast", "post-contrast")))
    description = bytes(read(content).header["descrip"]).rstrip(b"\0").decode()
    assert description == ("FLAIR abnormality; research only; filled: pre-contrast+post-contrast")
    assert b"Doe" not in gzip.decompress(content)


def test_an_empty_mask_is_written_too() -> None:
    made = mrstudy.findings(mrstudy.study(), found=False)
    assert not np.asarray(read(mask_nifti(made)).dataobj).any()
