"""Masks as NIfTI files on the grid of the FLAIR file that they belong to. Needs ``nifti``.

References
----------
nifti1.h of the NIfTI Data Format Working Group: world coordinates are RAS, where DICOM's are LPS;
``descrip`` holds 80 characters.
"""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING, Final

import numpy as np

from scanside.discretion import discreet

if TYPE_CHECKING:
    from scanside.study.model import Findings, Study

__all__ = ["mask_nifti"]

_LPS_TO_RAS: Final = np.diag([-1.0, -1.0, 1.0, 1.0])

_SCANNER, _ALIGNED = 1, 2
"""Codes of sform and qform: the scanner's coordinates, or those of another file, here the input's,
whatever they are."""

_COMPRESSION: Final = 6
"""zlib's own default; masks are small and compress a hundredfold."""


def mask_nifti(findings: Findings) -> bytes:
    """Encode a study's mask as ``.nii.gz``: 1 inside, 0 outside, uint8.

    Parameters
    ----------
    findings
        The findings.

    Returns
    -------
    bytes
        The file: shape and affine are those of the FLAIR series, as it was read. The same findings
        give the same bytes.

    Raises
    ------
    InternalError
        If nibabel fails; the message names no patient attribute.
    """
    from nibabel.nifti1 import Nifti1Image

    study = findings.study
    affine = _LPS_TO_RAS @ study.flair.grid.affine
    code = _SCANNER if study.kind == "dicom" else _ALIGNED
    with discreet("encoding the NIfTI mask"):
        # NIfTI counts columns first.
        mask = study.on_source(findings.masks).transpose(2, 1, 0).astype(np.uint8)
        image = Nifti1Image(mask, affine)
        image.set_sform(affine, code)
        image.set_qform(affine, code)
        image.header.set_xyzt_units("mm")
        image.header["descrip"] = _description(study).encode()
        # Time and name of a file are parts of gzip's header, and would make its bytes change.
        return gzip.compress(image.to_bytes(), _COMPRESSION, mtime=0)


def _description(study: Study) -> str:
    said = "FLAIR abnormality; research only"
    if study.filled:
        said += f"; filled: {'+'.join(study.filled)}"
    return said
