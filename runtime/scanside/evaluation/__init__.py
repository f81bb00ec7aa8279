"""Datasets, patient-level splits, metrics and their uncertainty: numpy only."""
