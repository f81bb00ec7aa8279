"""Campaigns against a DICOM node in a process of its own, on loopback."""
