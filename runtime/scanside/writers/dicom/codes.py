"""The coded concepts of results.

References
----------
PS3.16: CID 6047 (processing status), CID 7150 and 7151 (categories and types of segments),
CID 7464 (derivations), CID 7470 and 7472 (linear and volume measurements), CID 7474 (volume
methods), TID 1500 (measurement report), TID 1411 (volumetric region).
"""

from __future__ import annotations

from typing import Final

from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

__all__ = ["PRIVATE_SCHEME", "item", "private_scheme"]

PRIVATE_SCHEME: Final = "99SCANSIDE"
"""For concepts that no public scheme has; described in the conformance statement."""

ABNORMAL_STRUCTURE: Final = Code("49755003", "SCT", "Morphologically Abnormal Structure")
NEOPLASM: Final = Code("108369006", "SCT", "Neoplasm")
BRAIN: Final = Code("12738006", "SCT", "Brain")
MR_BRAIN: Final = Code("24590-2", "LN", "MR Brain")

VOLUME: Final = Code("118565006", "SCT", "Volume")
DIAMETER: Final = Code("81827009", "SCT", "Diameter")
MAXIMUM: Final = Code("56851009", "SCT", "Maximum")
SUM_OF_VOXELS: Final = Code("126030", "DCM", "Sum of segmented voxel method for volume")
MILLILITRE: Final = Code("ml", "UCUM", "milliliter")
MILLIMETRE: Final = Code("mm", "UCUM", "millimeter")
COUNT: Final = Code("{slices}", "UCUM", "slices")

IN_ONE_SLICE: Final = Code("IN_ONE_SLICE", PRIVATE_SCHEME, "Between voxel centers in one slice")
CENTROID: Final = (
    Code("CENTROID_X", PRIVATE_SCHEME, "Centroid, patient x (to the left)"),
    Code("CENTROID_Y", PRIVATE_SCHEME, "Centroid, patient y (to posterior)"),
    Code("CENTROID_Z", PRIVATE_SCHEME, "Centroid, patient z (to the head)"),
)
SLICES_WITH_REGION: Final = Code("SLICES_WITH_REGION", PRIVATE_SCHEME, "Slices with a region")

REPORT: Final = Code("126000", "DCM", "Imaging Measurement Report")
DEVICE: Final = Code("121007", "DCM", "Device")
MEASUREMENTS: Final = Code("126010", "DCM", "Imaging Measurements")
EVALUATIONS: Final = Code("C0034375", "UMLS", "Qualitative Evaluations")
PROCEDURE: Final = Code("121058", "DCM", "Procedure Reported")
SUMMARY: Final = Code("111017", "DCM", "CAD Processing and Findings Summary")
CONCLUSION: Final = Code("121077", "DCM", "Conclusion")
COMMENT: Final = Code("121106", "DCM", "Comment")
ALGORITHM_NAME: Final = Code("111001", "DCM", "Algorithm Name")
ALGORITHM_VERSION: Final = Code("111003", "DCM", "Algorithm Version")
ALGORITHM_PARAMETERS: Final = Code("111002", "DCM", "Algorithm Parameters")
ARTIFICIAL_INTELLIGENCE: Final = Code("123110", "DCM", "Artificial Intelligence")

SEGMENTATION: Final = Code("113076", "DCM", "Segmentation")
SOURCE_FOR_PROCESSING: Final = Code("121322", "DCM", "Source image for image processing operation")

ALL_WITH_FINDINGS: Final = Code("111242", "DCM", "All algorithms succeeded; with findings")
ALL_WITHOUT_FINDINGS: Final = Code("111241", "DCM", "All algorithms succeeded; without findings")
SOME_WITH_FINDINGS: Final = Code("111244", "DCM", "Not all algorithms succeeded; with findings")
SOME_WITHOUT_FINDINGS: Final = Code(
    "111243", "DCM", "Not all algorithms succeeded; without findings"
)
NONE_SUCCEEDED: Final = Code("111245", "DCM", "No algorithms succeeded; without findings")


def item(code: Code) -> Dataset:
    """Return a code as an item of a code sequence (PS3.3 8.8)."""
    made = Dataset()
    made.CodeValue = code.value
    made.CodingSchemeDesignator = code.scheme_designator
    made.CodeMeaning = code.meaning
    return made


def private_scheme() -> Dataset:
    """Say whose `PRIVATE_SCHEME` is: an item of CodingSchemeIdentificationSequence."""
    made = Dataset()
    made.CodingSchemeDesignator = PRIVATE_SCHEME
    made.CodingSchemeName = "scanside"
    made.CodingSchemeResponsibleOrganization = "scanside"
    return made
