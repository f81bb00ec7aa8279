"""NIfTI files: values and places as nibabel gives them, and every refusal."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

nibabel = pytest.importorskip("nibabel", reason="the extra nifti is not installed")

from scanside.errors import ExtraNotInstalledError, InputError  # noqa: E402
from scanside.readers import blobs  # noqa: E402
from scanside.readers.blobs import Blob  # noqa: E402
from scanside.readers.nifti import read_nifti  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

AFFINE = np.array([[-0.9, 0, 0, 90], [0, 0.8, 0, -70], [0, 0, 5, -20], [0, 0, 0, 1]], float)
VALUES = np.random.default_rng(1).integers(0, 900, (12, 10, 6)).astype(np.int16)


def save(
    path: Path,
    values: np.ndarray = VALUES,
    *,
    kind: type = nibabel.Nifti1Image,
    affine: np.ndarray | None = AFFINE,
    change: Callable[[Any], Any] = lambda _: None,
) -> Blob:
    image = kind(values, affine)
    change(image.header)
    image.to_filename(path)
    return Blob(path.name, path)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize(
    "dtype", [np.uint8, np.int8, np.int16, np.uint16, np.int32, np.float32, np.float64]
)
def test_values_and_places_are_nibabel_s(tmp_path: Path, name: str, kind: type, dtype: Any) -> None:
    values = (VALUES % 120).astype(dtype)
    found = read_nifti(save(tmp_path / name, values, kind=kind))
    volume = found.read()
    assert found.grid.shape == (6, 10, 12)
    assert np.array_equal(volume.intensities(4), values[:, :, 4].T)
    x, y, z = AFFINE[:3, :3] @ (7, 3, 4) + AFFINE[:3, 3]
    assert found.grid.to_patient(np.array([7.0, 3.0, 4.0])) == pytest.approx((-x, -y, z))


def test_scale_big_endian_and_display_range(tmp_path: Path) -> None:
    path = tmp_path / "a.nii"
    header = nibabel.Nifti1Header(endianness=">")
    image = nibabel.Nifti1Image(VALUES, AFFINE, header)
    image.header.set_slope_inter(0.5, 3.0)
    image.header["cal_min"], image.header["cal_max"] = 10, 600
    image.to_filename(path)
    volume = read_nifti(Blob("a", path)).read()
    wanted = nibabel.load(path).get_fdata()[:, :, 2].T
    assert np.allclose(volume.intensities(2), wanted)
    assert volume.declared == (10, 600)


@pytest.mark.parametrize("form", ["sform", "qform"])
@pytest.mark.parametrize(
    ("unit", "millimetres"), [("unknown", 1), ("meter", 1000), ("mm", 1), ("micron", 0.001)]
)
def test_units_become_millimetres_as_in_itk(
    tmp_path: Path, unit: str, millimetres: float, form: str
) -> None:
    affine = AFFINE.copy()
    affine[:3] /= millimetres

    def change(header: Any) -> None:
        header.set_xyzt_units(unit, "sec")
        header.set_qform(affine, 1)
        header.set_sform(affine, 1 if form == "sform" else 0)

    blob = save(tmp_path / "a.nii", affine=affine, change=change)
    grid = read_nifti(blob).grid
    assert grid.affine == pytest.approx(np.diag([-1, -1, 1, 1]) @ AFFINE, abs=1e-3)
    assert grid.voxel_mm3 == pytest.approx(0.9 * 0.8 * 5, rel=1e-4)
    sitk = pytest.importorskip("SimpleITK", reason="the oracle is SimpleITK, which is not here")
    image = sitk.ReadImage(str(blob.path))
    assert grid.affine[:3, 3] == pytest.approx(image.GetOrigin(), abs=1e-3)
    assert np.linalg.norm(grid.affine[:3, :3], axis=0) == pytest.approx(image.GetSpacing())


def test_two_places_of_the_scanner_are_a_contradiction(tmp_path: Path) -> None:
    mirrored = np.diag([-1.0, 1.0, 1.0, 1.0]) @ AFFINE
    near = AFFINE.copy()
    near[0, 3] += 0.5  # within a voxel
    for other, codes, accepted in (
        (mirrored, (1, 1), False),
        (mirrored, (2, 1), True),  # aligned to something else
        (mirrored, (2, 2), True),
        (near, (1, 1), True),
        (AFFINE, (1, 1), True),
    ):

        def change(header: Any, other: Any = other, codes: Any = codes) -> None:
            header.set_sform(AFFINE, codes[0])
            header.set_qform(other, codes[1])

        blob = save(tmp_path / "a.nii", change=change)
        if accepted:
            assert read_nifti(blob).grid.affine[0, 0] == pytest.approx(0.9)
        else:
            with pytest.raises(InputError, match="no geometry: .*both claim to be the scanner's"):
                read_nifti(blob)


def test_where_a_file_lies_in_a_template_is_not_where_it_lies_in_the_patient(
    tmp_path: Path,
) -> None:
    def change(header: Any) -> None:
        header.set_qform(AFFINE, code=1)
        header.set_sform(np.diag([2.0, 2.0, 2.0, 1.0]), code=4)

    wanted = read_nifti(save(tmp_path / "a.nii")).grid
    found = read_nifti(save(tmp_path / "b.nii", change=change)).grid
    assert found.spacing == pytest.approx(wanted.spacing, rel=1e-5)


def test_real_files(data_root: Path) -> None:
    folder = data_root / "readers" / "nifti"
    flair = folder / "niivue_FLAIR.nii.gz"
    found = read_nifti(Blob("f", flair))
    assert found.grid.shape == (140, 160, 124)
    assert found.read().stored.dtype == np.uint8
    with pytest.raises(InputError, match="128 x 96 x 24 x 2 voxels in 4 dimensions"):
        read_nifti(Blob("f", folder / "nibabel_example4d.nii.gz"))


def _no_place(header: Any) -> None:
    header["sform_code"] = header["qform_code"] = 0


def _template(header: Any) -> None:
    header["sform_code"], header["qform_code"] = 4, 0


def _shear(header: Any) -> None:
    header["srow_x"] = [-0.9, 0.3, 0, 90]


def _metres(header: Any) -> None:
    header["srow_z"] = [0, 0, 0.9, -20]
    header.set_xyzt_units("meter")


@pytest.mark.parametrize(
    ("message", "change"),
    [
        ("no geometry: .*nowhere", _no_place),
        ("no geometry: .*nowhere", _template),
        ("no geometry: .*right angles", _shear),
        ("no geometry: .*none of a volume", lambda h: h.__setitem__("srow_x", [np.nan] * 4)),
        ("no geometry: .*none of a volume", lambda h: h.__setitem__("srow_x", [0] * 4)),
        ("no geometry: .* is 11 m long", _metres),
        ("no geometry: .*none of a volume", lambda h: h.set_xyzt_units("micron")),
        ("no geometry: .*unit of length", lambda h: h.__setitem__("xyzt_units", 5)),
        ("5000 x 10 x 6 voxels", lambda h: h.__setitem__("dim", [3, 5000, 10, 6, 1, 1, 1, 1])),
        ("no NIfTI file", lambda h: h.__setitem__("dim", [9] * 8)),
        ("10 x 6 voxels in 2", lambda h: h.__setitem__("dim", [2, 10, 6, 1, 1, 1, 1, 1])),
        ("breaks off", lambda h: h.__setitem__("dim", [3, 12, 10, 300, 1, 1, 1, 1])),
        ("for more, 240 bytes", lambda h: h.__setitem__("dim", [3, 12, 10, 5, 1, 1, 1, 1])),
        ("for more", lambda h: h.__setitem__("dim", [3, 12, 5, 6, 1, 1, 1, 1])),
        ("begin outside", lambda h: h.__setitem__("vox_offset", 1e6)),
        ("begin outside", lambda h: h.__setitem__("vox_offset", np.nan)),
        ("another type", lambda h: h.__setitem__("datatype", 128)),
        (
            "scl_inter",
            lambda h: (h.__setitem__("scl_slope", 2), h.__setitem__("scl_inter", np.nan)),
        ),
    ],
)
def test_headers_that_are_refused(
    tmp_path: Path, message: str, change: Callable[[Any], Any]
) -> None:
    path = tmp_path / "a.nii"
    save(path)
    header = nibabel.Nifti1Header(path.read_bytes()[:348], check=False)
    change(header)
    path.write_bytes(header.binaryblock + path.read_bytes()[348:])
    with pytest.raises(InputError, match=message):
        read_nifti(Blob("a", path)).read()


def test_values_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    values = VALUES.astype(np.float32)
    values[0, 0, :2] = np.nan
    with pytest.raises(InputError, match="2 voxels are NaN or infinite"):
        read_nifti(save(tmp_path / "a.nii", values)).read()


def test_half_a_pair_is_refused(tmp_path: Path) -> None:
    image = nibabel.Nifti1Pair(VALUES, AFFINE)
    image.to_filename(tmp_path / "a.img")
    with pytest.raises(InputError, match="header of a pair"):
        read_nifti(Blob("a", tmp_path / "a.hdr"))


def test_gzip_is_unpacked_up_to_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.nii.gz"
    save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    with pytest.raises(InputError, match="breaks off"):
        read_nifti(Blob("a", path))
    monkeypatch.setattr(blobs, "MAX_STUDY_FILE_BYTES", 10_000)
    path.write_bytes(gzip.compress(bytes(20_000)))
    with pytest.raises(InputError, match="unpacks to more than 10,000 bytes"):
        read_nifti(Blob("a", path))


def test_without_nibabel_the_message_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blob = save(tmp_path / "a.nii")
    monkeypatch.setitem(__import__("sys").modules, "nibabel", None)
    with pytest.raises(ExtraNotInstalledError, match=r"pip install 'scanside\[nifti\]'"):
        read_nifti(blob)


def test_a_value_beyond_float32_is_refused(tmp_path: Path) -> None:
    values = VALUES.astype(np.float64)
    values[1, 2, 3] = 1e300
    with pytest.raises(InputError, match="1 voxels are NaN or infinite"):
        read_nifti(save(tmp_path / "a.nii", values)).read()
