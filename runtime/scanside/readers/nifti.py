"""NIfTI-1 and NIfTI-2 files: one 3-D volume with its affine. Needs the extra ``nifti``.

References
----------
nifti1.h and nifti2.h of the NIfTI Data Format Working Group: world coordinates are RAS (x to the
patient's right is negative), where DICOM's are LPS.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from scanside.discretion import refusing
from scanside.errors import ExtraNotInstalledError, InputError
from scanside.preprocess import MAX_SIDE, Window
from scanside.readers.blobs import unzip_limited
from scanside.study.grid import Grid
from scanside.study.reasons import refused
from scanside.study.volume import MAX_VOXELS, Volume

if TYPE_CHECKING:
    from types import ModuleType

    from nibabel.nifti1 import Nifti1Header
    from numpy.typing import NDArray

    from scanside.readers.blobs import Blob

__all__ = ["NiftiFile", "read_nifti", "require_nibabel"]

_TO_LPS: Final = np.diag([-1.0, -1.0, 1.0, 1.0])
_MM: Final = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
"""Millimetres by the code of xyzt_units: metre, millimetre, micrometre. Files that name no unit (0)
are taken as millimetres, as every viewer does."""

_HEADER_1, _HEADER_2 = 348, 540
_DEPTHS: Final = "uint8, int8, uint16, int16, uint32, int32, float32 and float64"
_SCANNER: Final = 1
_IN_THE_PATIENT: Final = frozenset({_SCANNER, 2})
"""NIFTI_XFORM_SCANNER_ANAT and NIFTI_XFORM_ALIGNED_ANAT of ``nifti1.h``; 3 to 5 are templates'."""

_MOST_MM: Final = 2000.0
"""Longest side of a volume, no shorter than a patient. A header that calls millimetres metres would
make a head of some 200 m."""

_RIGHT_ANGLES: Final = 2e-3
"""Largest cosine between two axes, 0.1 degrees: NIfTI holds its affine in 32-bit floats, and
converters round."""


@dataclass(frozen=True, slots=True, eq=False)
class NiftiFile:
    """A file whose header was accepted.

    Attributes
    ----------
    blob
        The file.
    grid
        Its grid, in DICOM's coordinates.
    """

    blob: Blob
    grid: Grid

    def read(self) -> Volume:
        """Read the voxels.

        Raises
        ------
        InputError
            If they are fewer than declared, or not finite.
        """
        data, header = _open(self.blob)
        with refusing(self.blob.source, "the voxels"):
            stored = _voxels(data, header, self.grid.shape, self.blob.source)
            slope, intercept = _scale(header, self.blob.source)
            low, high = float(header["cal_min"]), float(header["cal_max"])
        slices = self.grid.shape[0]
        shown = np.isfinite([low, high]).all() and low < high
        return Volume(
            stored=stored,
            slopes=np.full(slices, slope),
            intercepts=np.full(slices, intercept),
            grid=self.grid,
            declared=Window(low, high) if shown else None,
        )


def require_nibabel() -> ModuleType:
    """Import nibabel.

    Raises
    ------
    ExtraNotInstalledError
        If it is not there.
    """
    try:
        import nibabel
    except ImportError as error:
        raise ExtraNotInstalledError("NIfTI input", package="nibabel", extra="nifti") from error
    module: ModuleType = nibabel
    return module


def read_nifti(blob: Blob) -> NiftiFile:
    """Read a file's header and check it.

    Raises
    ------
    InputError
        If the file is no single-file NIfTI, is not 3-D, has no affine, two that contradict each
        other, or one whose axes are not at right angles or are longer than a patient, has a slope
        without its intercept, or is of another type of voxels.
    """
    _, header = _open(blob)
    with refusing(blob.source, "the header"):
        shape = _shape(header, blob.source)
        affine = _affine(header, shape, blob.source)
        _scale(header, blob.source)
        if np.dtype(header.get_data_dtype()).name not in _DEPTHS.replace(",", " ").split():
            raise InputError(
                f"{blob.source}: the voxels are of another type than intensities",
                accepted=_DEPTHS,
            )
    return NiftiFile(blob, Grid(affine, shape))


def _open(blob: Blob) -> tuple[bytes, Nifti1Header]:
    """Return the file unpacked, and its header."""
    require_nibabel()
    from nibabel import nifti1, nifti2

    data = blob.read()
    if data[:2] == b"\x1f\x8b":
        data = unzip_limited(data, blob.source)
    if data[344:348] == b"ni1\0":
        raise InputError(
            f"{blob.source}: this is the header of a pair of files",
            accepted="single NIfTI files (.nii, .nii.gz)",
            remedy="convert the pair to one .nii file",
        )
    second = data[4:7] == b"n+2"
    length = _HEADER_2 if second else _HEADER_1
    with refusing(blob.source, "the header"):
        kind: Any = nifti2.Nifti2Header if second else nifti1.Nifti1Header
        header: Nifti1Header = kind(data[:length], check=False)
        if int(header["sizeof_hdr"]) != length:
            raise InputError(f"{blob.source}: this is no NIfTI file", accepted="NIfTI-1, NIfTI-2")
    return data, header


def _shape(header: Nifti1Header, source: str) -> tuple[int, int, int]:
    count = int(header["dim"][0])
    sizes = [int(size) for size in header["dim"][1 : count + 1]] if 0 < count < 8 else []  # noqa: PLR2004
    if len(sizes) < 3 or any(size != 1 for size in sizes[3:]):  # noqa: PLR2004
        shown = " x ".join(str(size) for size in sizes) or "no"
        raise InputError(
            f"{source}: the image has {shown} voxels in {count} dimensions",
            accepted="one 3-D volume a file",
            remedy="split a series of volumes, and give the one that is wanted",
        )
    columns, rows, slices = sizes[:3]
    if not all(0 < size <= MAX_SIDE for size in sizes[:3]) or rows * columns * slices > MAX_VOXELS:
        raise InputError(
            f"{source}: the volume has {columns} x {rows} x {slices} voxels",
            accepted=f"1 to {MAX_SIDE} a side, up to {MAX_VOXELS:,} in all",
        )
    return slices, rows, columns


def _affine(header: Nifti1Header, shape: tuple[int, int, int], source: str) -> NDArray[np.float64]:
    matrix, code = header.get_sform(coded=True)
    if code == _SCANNER == header["qform_code"] and not _agree(
        np.asarray(matrix), np.asarray(header.get_qform()), shape
    ):
        raise refused(
            "no geometry",
            f"{source}: sform and qform both claim to be the scanner's, and differ",
            accepted="one place in the patient",
            remedy="convert the series again from DICOM",
        )
    if code not in _IN_THE_PATIENT:
        # It may say where it lies in a template: those distances are not the patient's.
        matrix, code = header.get_qform(coded=True)
    placed = code in _IN_THE_PATIENT
    unit = _MM.get(int(header["xyzt_units"]) & 0x07)
    if not placed or unit is None:
        raise refused(
            "no geometry",
            f"{source}: the header places the voxels nowhere in the patient"
            if not placed
            else f"{source}: the header's unit of length is unknown",
            accepted="a qform or sform of code 1 or 2 in metres, millimetres or micrometres",
            remedy="convert the series again from DICOM",
        )
    affine = np.asarray(matrix, np.float64)
    affine[:3] *= unit
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if not np.isfinite(affine).all() or not ((lengths > 1e-3) & (lengths < 1e3)).all():  # noqa: PLR2004
        raise refused(
            "no geometry", f"{source}: the affine is none of a volume", accepted="millimetres"
        )
    longest = float((lengths * shape[::-1]).max())
    if longest > _MOST_MM:
        raise refused(
            "no geometry",
            f"{source}: the volume is {longest / 1000:.0f} m long",
            accepted=f"up to {_MOST_MM / 1000:.0f} m",
            remedy="correct the unit of length (xyzt_units) in the header",
        )
    cosines = (affine[:3, :3] / lengths).T @ (affine[:3, :3] / lengths)
    if np.abs(cosines - np.eye(3)).max() > _RIGHT_ANGLES:
        raise refused(
            "no geometry",
            f"{source}: the affine's axes are not at right angles",
            accepted="affines without shear",
            remedy="resample the volume to a rectangular grid",
        )
    return _TO_LPS @ affine


def _agree(
    one: NDArray[np.float64], other: NDArray[np.float64], shape: tuple[int, int, int]
) -> bool:
    """Tell whether two affines put every voxel of a volume within a voxel of the same place."""
    corners = np.array([*product(*((0, size - 1) for size in shape[::-1]), (1,))], np.float64)
    away = np.linalg.norm(corners @ (one - other).T, axis=1).max()
    # Written so that NaN is refused.
    return bool(away <= np.linalg.norm(one[:3, :3], axis=0).min())


def _scale(header: Nifti1Header, source: str) -> tuple[float, float]:
    """Return slope and intercept; a slope of 0 means that there is no scale."""
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0 or not np.isfinite(slope):
        return 1.0, 0.0
    if not np.isfinite(intercept):
        raise InputError(f"{source}: scl_inter is no number", accepted="a slope with its intercept")
    return slope, intercept


def _voxels(
    data: bytes, header: Nifti1Header, shape: tuple[int, int, int], source: str
) -> NDArray[np.generic]:
    dtype = np.dtype(header.get_data_dtype())
    count, start = int(np.prod(shape)), float(header["vox_offset"])
    # Written so that NaN is refused.
    if not int(header["sizeof_hdr"]) <= start <= len(data) - count * dtype.itemsize:
        raise InputError(
            f"{source}: the file breaks off, or its voxels begin outside of it",
            accepted=f"{count:,} voxels of {dtype.name}",
        )
    spare = len(data) - int(start) - count * dtype.itemsize
    if spare >= shape[1] * shape[2] * dtype.itemsize:
        raise InputError(
            f"{source}: behind the last slice there is data for more, {spare:,} bytes",
            accepted=f"{count:,} voxels of {dtype.name}, as the header says",
            remedy="convert the series again from DICOM",
        )
    found = np.frombuffer(data, dtype, count, int(start)).reshape(shape)
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            single = found.astype(np.float32)
        if not np.isfinite(single).all():
            raise InputError(
                f"{source}: {int(count - np.isfinite(single).sum())} voxels are NaN or infinite",
                accepted="finite values of float32",
                remedy="write a number in place of each",
            )
        return single
    return _narrow(found)


def _narrow(found: NDArray[Any]) -> NDArray[np.generic]:
    """Return integers in 8 or 16 bits where they fit, else as float32."""
    if found.dtype.itemsize == 1 and found.dtype.kind == "u":
        return found.astype(np.uint8)
    lowest, highest = int(found.min()), int(found.max())
    for kind in (np.int16, np.uint16):
        if np.iinfo(kind).min <= lowest and highest <= np.iinfo(kind).max:
            return found.astype(kind)
    return found.astype(np.float32)
