"""Labelled slices as DICOM studies with synthetic identities, good and bad: what tests need."""
