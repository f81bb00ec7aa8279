"""The kinds of fields that a bundle's schema is made of."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

__all__ = ["Count", "FileName", "Part", "Positive", "Probability", "Sha256"]

Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]
Probability = Annotated[float, Meta(ge=0.0, le=1.0)]
Count = Annotated[int, Meta(ge=0)]
Positive = Annotated[int, Meta(gt=0)]
FileName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=128)]
"""A file of the bundle: a bare name, so that no path can leave the folder."""


class Part(Struct, frozen=True, forbid_unknown_fields=True):
    """Base of every structure here: immutable and strict (`kw_only` is not inherited)."""
