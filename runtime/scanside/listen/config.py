"""The configuration of the DICOM node: one TOML file, checked before a port is opened."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

from scanside.errors import UsageError
from scanside.tomlfile import parse_toml, read_toml

__all__ = [
    "Destination",
    "Limits",
    "ListenConfig",
    "Models",
    "Monitoring",
    "Node",
    "Peer",
    "Purge",
    "Retry",
    "SpoolConfig",
    "StudyRules",
    "Tls",
    "parse_listen_config",
    "read_listen_config",
]

AeTitle = Annotated[str, Meta(pattern=r"^[!-\[\]-~][ !-\[\]-~]{0,14}[!-\[\]-~]?$")]
"""1 to 16 characters of the default repertoire without backslash and control characters, no
space at either end: DICOM PS3.5, table 6.2-1, AE."""

Port = Annotated[int, Meta(ge=1, le=65535)]
Seconds = Annotated[float, Meta(gt=0)]
Hours = Annotated[float, Meta(ge=0)]
Number = Annotated[int, Meta(ge=1)]
Size = Annotated[float, Meta(gt=0)]

_REMEDY: Final = "every key is in docs/listen.md"


class _Part(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of every structure here: immutable and strict."""


class Tls(_Part, frozen=True, kw_only=True):
    """Mutual TLS by the BCP 195 profile (PS3.15, annex B.9): 1.2 and later.

    Attributes
    ----------
    certificate, key
        PEM files of this node.
    authorities
        PEM file of the certificates that the other side's must be signed by.
    """

    certificate: str
    key: str
    authorities: str


class Node(_Part, frozen=True, kw_only=True):
    """What this node is called and where it listens.

    Attributes
    ----------
    ae_title
        Its application entity title; an association that calls another one is rejected.
    address, port
        Where it listens.
    tls
        With it, only associations over mutual TLS are accepted.
    """

    ae_title: AeTitle
    address: str = "127.0.0.1"
    port: Port = 11112
    tls: Tls | None = None


class Peer(_Part, frozen=True, kw_only=True):
    """Who may send. An AE title is a name that anybody can use, not an authentication.

    Attributes
    ----------
    ae_title
        Its calling application entity title.
    addresses
        Addresses or networks that it may come from.
    """

    ae_title: AeTitle
    addresses: Annotated[tuple[str, ...], Meta(min_length=1)]

    def __post_init__(self) -> None:
        """Refuse an address that is none."""
        for address in self.addresses:
            ipaddress.ip_network(address)  # ValueError names the address


class Destination(_Part, frozen=True, kw_only=True):
    """Where results are sent.

    Attributes
    ----------
    name
        Its name in the status and in the log.
    ae_title, address, port
        The application entity that is called.
    tls
        With it, results are sent over mutual TLS only.
    objects
        Which objects it gets.
    """

    name: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")]
    ae_title: AeTitle
    address: str
    port: Port
    tls: Tls | None = None
    objects: Annotated[tuple[Literal["sr", "seg", "capture"], ...], Meta(min_length=1)] = (
        "seg",
        "sr",
    )


class Limits(_Part, frozen=True, kw_only=True):
    """What one sender can take of this computer at most.

    Attributes
    ----------
    associations
        At the same time; one more is rejected (local limit exceeded).
    associations_per_address
        The same of one address, so that one sender does not shut out the others.
    pdu_bytes
        Longest PDU; a sender that announces a longer one is aborted before it is read.
    object_mb
        Largest object.
    pdu_seconds
        Within which a PDU that was begun must have come.
    idle_seconds
        After which an association without traffic is aborted.
    """

    associations: Number = 8
    associations_per_address: Number = 4
    pdu_bytes: Annotated[int, Meta(ge=16384, le=1 << 20)] = 131072
    object_mb: Annotated[int, Meta(ge=1, le=2048)] = 256
    pdu_seconds: Seconds = 20.0
    idle_seconds: Seconds = 60.0


class SpoolConfig(_Part, frozen=True, kw_only=True):
    """Where everything is kept, and how much.

    Attributes
    ----------
    folder
        The spool; made for this user alone.
    max_gb
        Of received objects and results; beyond it objects are refused (A700, out of resources).
    min_free_gb
        Of the file system; below it objects are refused.
    """

    folder: str
    max_gb: Size = 20.0
    min_free_gb: Annotated[float, Meta(ge=0)] = 1.0


class StudyRules(_Part, frozen=True, kw_only=True):
    """When a study is looked at, and how.

    Attributes
    ----------
    quiet_seconds
        Without a new instance, before a study is looked at.
    deadline_seconds
        From the first instance: an incomplete study gets a report that says incomplete then.
    series_rules
        TOML file of the rules by which series are picked; none for those that ship.
    fill_missing
        Let FLAIR stand in for a missing sequence; said in every result.
    """

    quiet_seconds: Seconds = 20.0
    deadline_seconds: Seconds = 900.0
    series_rules: str | None = None
    fill_missing: bool = False

    def __post_init__(self) -> None:
        """Refuse a deadline before the first look."""
        if self.deadline_seconds < self.quiet_seconds:
            raise ValueError("deadline_seconds is below quiet_seconds")


class Retry(_Part, frozen=True, kw_only=True):
    """How delivery is tried again.

    Attributes
    ----------
    first_seconds, longest_seconds
        The first pause, doubled after each failure up to the longest.
    attempts
        Refusals by the destination after which an object is dead: kept, shown, and sent again
        when told. A destination that can't be reached is tried for ever.
    """

    first_seconds: Seconds = 5.0
    longest_seconds: Seconds = 600.0
    attempts: Number = 20


class Purge(_Part, frozen=True, kw_only=True):
    """When what is finished is deleted; what is not yet delivered is not, unless told.

    Attributes
    ----------
    keep_hours
        After the last delivery of a study's results.
    keep_fraction
        Of ``spool.max_gb``: beyond it what is delivered everywhere is deleted before its time, the
        oldest first.
    aside_hours
        Of objects that were set aside.
    undelivered_hours
        After the last object of a study that failed, or whose results were not delivered; none to
        keep them for ever.
    """

    keep_hours: Hours = 72.0
    keep_fraction: Annotated[float, Meta(gt=0, le=1)] = 0.8
    aside_hours: Hours = 24.0
    undelivered_hours: Hours | None = None


class Monitoring(_Part, frozen=True, kw_only=True):
    """The Prometheus endpoint, on the loopback address; none with port 0."""

    port: Annotated[int, Meta(ge=0, le=65535)] = 9464


class Models(_Part, frozen=True, kw_only=True):
    """What computes.

    Attributes
    ----------
    bundle
        The bundle; none for the default one.
    bundle_sha256
        Hash that its manifest must have.
    backend, precision
        As in ``scanside run``.
    """

    bundle: str | None = None
    bundle_sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")] | None = None
    backend: str = "auto"
    precision: Literal["fp32", "fp16", "int8"] | None = None


class ListenConfig(_Part, frozen=True, kw_only=True):
    """The whole file; its paths are relative to the file."""

    node: Node
    peers: Annotated[tuple[Peer, ...], Meta(min_length=1)]
    destinations: tuple[Destination, ...] = ()
    spool: SpoolConfig
    limits: Limits = Limits()
    study: StudyRules = StudyRules()
    retry: Retry = Retry()
    purge: Purge = Purge()
    monitoring: Monitoring = Monitoring()
    models: Models = Models()

    def __post_init__(self) -> None:
        """Refuse what no single field can tell."""
        names = [destination.name for destination in self.destinations]
        if len(set(names)) != len(names):
            raise ValueError(f"two destinations have one name: {sorted(names)}")


def read_listen_config(path: Path) -> ListenConfig:
    """Read a configuration; its relative paths become absolute.

    Raises
    ------
    UsageError
        If it can't be read or is not of the schema: the message names the path of the key.
    """
    config = read_toml(path, ListenConfig, what="the configuration", remedy=_REMEDY)
    return _resolved(config, path.absolute().parent)


def parse_listen_config(text: str) -> ListenConfig:
    """Parse and check a text; its paths stay as they are."""
    return parse_toml(text, ListenConfig, remedy=_REMEDY)


def _resolved(config: ListenConfig, base: Path) -> ListenConfig:
    def absolute(path: str) -> str:
        return str(base / Path(path).expanduser())

    def tls(part: Tls | None) -> Tls | None:
        if part is None:
            return None
        resolved = Tls(
            certificate=absolute(part.certificate),
            key=absolute(part.key),
            authorities=absolute(part.authorities),
        )
        for file in (resolved.certificate, resolved.key, resolved.authorities):
            if not Path(file).is_file():
                raise UsageError(f"{file}: there is no such file", remedy="see node.tls")
        return resolved

    replace = msgspec.structs.replace
    rules, bundle = config.study.series_rules, config.models.bundle
    return replace(
        config,
        node=replace(config.node, tls=tls(config.node.tls)),
        destinations=tuple(replace(d, tls=tls(d.tls)) for d in config.destinations),
        spool=replace(config.spool, folder=absolute(config.spool.folder)),
        study=replace(config.study, series_rules=None if rules is None else absolute(rules)),
        models=replace(config.models, bundle=None if bundle is None else absolute(bundle)),
    )
