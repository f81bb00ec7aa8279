"""Phantoms: heads in three MR sequences with lesions and exact masks, made from a seed.

They stand in for patients where no patient's image may be: every stage runs on them, training
included, and golden slices of them may ship. They are drawings, set beside real slices for
outline, grey levels, noise and lesion size; a model trained on them alone knows drawings.
"""

from __future__ import annotations

from scanside_training.phantom.dataset import write_dataset
from scanside_training.phantom.patient import PhantomSlice, generate_patient

__all__ = ["PhantomSlice", "generate_patient", "write_dataset"]
