"""DICOM files in: headers, geometry, pixels. Needs the extra ``dicom``."""
