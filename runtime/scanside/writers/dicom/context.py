"""What the objects of a result say beyond the findings: by what, when, in place of what."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from datetime import datetime

__all__ = ["Algorithm", "Context", "EncodedObject", "Predecessor"]


class Algorithm(NamedTuple):
    """What made the findings.

    Attributes
    ----------
    bundle, bundle_version, bundle_sha256
        Name and version of the bundle, and the hash of its manifest.
    software
        scanside's version.
    backend, precision
        What computed.
    options
        Options of the run that change its results, each as ``name=value``.
    """

    bundle: str
    bundle_version: str
    bundle_sha256: str
    software: str
    backend: str
    precision: str
    options: tuple[str, ...] = ()

    @property
    def parameters(self) -> tuple[str, ...]:
        """Everything beside name and version, each as ``name=value``."""
        return (
            f"manifest sha256={self.bundle_sha256}",
            f"scanside={self.software}",
            f"backend={self.backend}",
            f"precision={self.precision}",
            *self.options,
        )


class Predecessor(NamedTuple):
    """A Structured Report that a new one supersedes.

    Attributes
    ----------
    study_instance_uid, series_instance_uid, sop_class_uid, sop_instance_uid
        Its identity.
    """

    study_instance_uid: str
    series_instance_uid: str
    sop_class_uid: str
    sop_instance_uid: str


class Context(NamedTuple):
    """What the objects of a result say beyond the findings.

    Attributes
    ----------
    algorithm
        What made the findings.
    created
        Content date and time of the objects. None takes the latest of the input, so that the same
        input gives the same bytes.
    uid_root
        The site's root for UIDs; none makes them below ``2.25``.
    predecessors
        Earlier reports of the same study that this one supersedes.
    """

    algorithm: Algorithm
    created: datetime | None = None
    uid_root: str | None = None
    predecessors: tuple[Predecessor, ...] = ()


class EncodedObject(NamedTuple):
    """A DICOM object as the bytes of a file (PS3.10).

    Attributes
    ----------
    kind
        ``sr``, ``seg`` or ``capture``.
    sop_class_uid, sop_instance_uid, series_instance_uid, study_instance_uid
        Its identity.
    file_name
        A name that tells nothing about the patient: kind, number and UID.
    content
        The file.
    """

    kind: str
    study_instance_uid: str
    series_instance_uid: str
    sop_class_uid: str
    sop_instance_uid: str
    file_name: str
    content: bytes

    @property
    def reference(self) -> Predecessor:
        """What a later report names to supersede this one."""
        return Predecessor(
            self.study_instance_uid,
            self.series_instance_uid,
            self.sop_class_uid,
            self.sop_instance_uid,
        )
