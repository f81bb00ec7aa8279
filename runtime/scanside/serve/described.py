"""What HELLO says in words: the JSON beside its numbers."""

from __future__ import annotations

from typing import Final, Literal

from scanside.contract import InputContract, Precision  # noqa: TC001 - msgspec reads annotations
from scanside.fields import Part, Sha256

__all__ = ["HELLO_SCHEMA", "Described", "WeightsLicense"]

HELLO_SCHEMA: Final = "scanside.hello/1"


class WeightsLicense(Part, frozen=True, kw_only=True):
    """The licence of the weights: its name, and what it asks for."""

    name: str
    notice: str


class Described(Part, frozen=True, kw_only=True):
    """A server, to its clients.

    Attributes
    ----------
    scanside
        Its version.
    bundle, bundle_sha256, description, input, license
        Of the bundle, as in its manifest.
    backend, precision, computes
        What computes, and its library versions, device and threads by name.
    fallback, reason
        Why ``auto`` could not use a better backend; by what measurement it took this one.
    self_test
        ``passed``, or ``skipped``.
    limits
        As in HELLO, by name.
    use
        What results may be used for.
    """

    schema: Literal["scanside.hello/1"] = HELLO_SCHEMA
    scanside: str
    bundle: str
    bundle_sha256: Sha256
    description: str
    input: InputContract
    license: WeightsLicense
    backend: str
    precision: Precision
    computes: dict[str, str]
    fallback: str | None
    reason: str | None
    self_test: Literal["passed", "skipped"]
    limits: dict[str, int]
    use: str = "research use only: not a medical device"
