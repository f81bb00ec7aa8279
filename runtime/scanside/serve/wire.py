"""The embedding protocol's messages as bytes: encode and decode, and nothing else.

``docs/protocol.md`` is the contract, byte by byte; its tables and its example are checked
against this module. Everything is little-endian. Nothing here allocates by what a message says.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, TypeVar

from scanside.errors import UsageError

if TYPE_CHECKING:
    from scanside.serve.codes import Kind

__all__ = [
    "BODIES",
    "HEADER",
    "HEADER_BYTES",
    "MAGIC",
    "MAX_BODY",
    "MAX_TEXT",
    "NO_SLOT",
    "VERSION",
    "Attach",
    "Body",
    "ClientHello",
    "Drain",
    "Error",
    "Header",
    "Infer",
    "Result",
    "ServerHello",
    "Stats",
    "WireError",
    "decode_header",
    "encode",
    "fixed_text",
    "text",
]

VERSION: Final = (1, 0)
"""Major and minor version of the protocol."""

MAGIC: Final = b"SCNS"
"""What every message begins with: a stream that has lost its place is told at once."""

HEADER: Final = struct.Struct("<4sHHI4xQ")
HEADER_BYTES: Final = HEADER.size

MAX_BODY: Final = 1024
"""Bytes of a message's fixed part that are accepted: three times the largest of version 1."""

MAX_TEXT: Final = 4096
"""Bytes of payload of any message of a client but INFER, and of an error's text."""

NO_SLOT: Final = 0xFFFFFFFF


class Header(NamedTuple):
    """The 24 bytes that every message begins with, without the magic."""

    kind: int
    body: int
    payload: int
    id: int


class ClientHello(NamedTuple):
    """Body of a client's HELLO."""

    major: int
    minor: int
    flags: int


class ServerHello(NamedTuple):
    """Body of a server's HELLO."""

    major: int
    minor: int
    flags: int
    max_in_flight: int
    max_payload: int
    max_bytes_in_flight: int
    max_shared_bytes: int
    max_slots: int
    queue_depth: int
    watchdog_ms: int
    message_timeout_ms: int
    min_side: int
    max_side: int
    channels: int
    dtypes: int
    gate: float
    decision: float
    mask: float
    pid: int
    restarts: int
    bundle_sha256: bytes
    version: bytes
    backend: bytes
    precision: bytes
    bundle: bytes
    license: bytes


class Infer(NamedTuple):
    """Body of INFER."""

    height: int
    width: int
    channels: int
    dtype: int
    flags: int
    mask_form: int
    slot: int
    window_low: float
    window_high: float
    spacing_row: float
    spacing_column: float
    deadline_ms: int


class Result(NamedTuple):
    """Body of RESULT."""

    status: int
    tumor: int
    segmented: int
    mask_form: int
    flags: int
    tumor_probability: float
    area_px: int
    components: int
    area_mm2: float
    box_top: int
    box_left: int
    box_bottom: int
    box_right: int
    height: int
    width: int
    queue_us: int
    preprocess_us: int
    classify_us: int
    segment_us: int
    postprocess_us: int
    total_us: int
    mask_bytes: int
    mask_offset: int
    slot: int


class Error(NamedTuple):
    """Body of ERROR."""

    code: int
    cause: int
    flags: int


class Stats(NamedTuple):
    """Body of a server's STATS."""

    uptime_us: int
    accepted: int
    answered: int
    failed: int
    dropped: int
    refused: int
    in_flight: int
    clients: int
    restarts: int
    rss_bytes: int
    indeterminate: int
    rejected: int


class Drain(NamedTuple):
    """Body of a server's DRAIN."""

    flags: int


class Attach(NamedTuple):
    """Body of ATTACH, both ways."""

    slots: int
    slot_bytes: int


class WireError(UsageError):
    """Bytes that are no message of this protocol; the stream has lost its place."""


T = TypeVar("T", bound="tuple[Any, ...]")


class Body(Generic[T]):
    """The fixed part of one type of message.

    Parameters
    ----------
    name
        As in ``docs/protocol.md``.
    made
        The named tuple of its fields.
    layout
        Their layout, as `struct` writes it.
    """

    def __init__(self, name: str, made: type[T], layout: str) -> None:
        self.name: Final = name
        self.made: Final = made
        self.layout: Final = struct.Struct(layout)

    @property
    def size(self) -> int:
        """Bytes; a message of a later minor version may have more."""
        return self.layout.size

    def encode(self, value: T) -> bytes:
        """Return the bytes of a value."""
        return self.layout.pack(*value)

    def decode(self, body: bytes | bytearray | memoryview) -> T:
        """Return the value; what follows it is of a later minor version and left alone.

        Raises
        ------
        WireError
            If there are too few bytes.
        """
        if len(body) < self.layout.size:
            raise WireError(
                f"{self.name} has a fixed part of {len(body)} bytes",
                accepted=f"{self.layout.size} bytes, or more in a later minor version",
            )
        return self.made(*self.layout.unpack_from(body))


class _Bodies(NamedTuple):
    client_hello: Body[ClientHello]
    server_hello: Body[ServerHello]
    infer: Body[Infer]
    result: Body[Result]
    error: Body[Error]
    stats: Body[Stats]
    drain: Body[Drain]
    attach: Body[Attach]


BODIES: Final = _Bodies(
    Body("HELLO (client)", ClientHello, "<HHI"),
    Body("HELLO (server)", ServerHello, "<HHIIIQQIIIIHHHHdddII32s24s16s8s96s64s"),
    Body("INFER", Infer, "<IIHHIHxxIddddI4x"),
    Body("RESULT", Result, "<BBBBIdIIdIIIIIIIIIIIIIII4x"),
    Body("ERROR", Error, "<HHI"),
    Body("STATS (server)", Stats, "<12Q"),
    Body("DRAIN (server)", Drain, "<I4x"),
    Body("ATTACH", Attach, "<I4xQ"),
)


def encode(kind: Kind, number: int, body: bytes = b"", payload: int = 0) -> bytes:
    """Return header and fixed part of a message.

    Parameters
    ----------
    kind
        Its type.
    number
        Its id.
    body
        Its fixed part, encoded.
    payload
        Bytes that the caller sends after what is returned.
    """
    return HEADER.pack(MAGIC, kind, len(body), payload, number) + body


def decode_header(data: bytes | bytearray | memoryview) -> Header:
    """Return a header.

    Parameters
    ----------
    data
        `HEADER_BYTES` bytes.

    Raises
    ------
    WireError
        If it is none, or names a fixed part beyond `MAX_BODY`.
    """
    magic, kind, body, payload, number = HEADER.unpack(data)
    if magic != MAGIC:
        raise WireError(f"a message begins with {magic!r}", accepted=repr(MAGIC))
    if body > MAX_BODY:
        raise WireError(f"a fixed part of {body} bytes", accepted=f"up to {MAX_BODY} bytes")
    return Header(kind, body, payload, number)


def fixed_text(value: str, size: int) -> bytes:
    """Return text for a field of `size` bytes, cut between characters, NUL after it."""
    return value.encode()[: size - 1].decode(errors="ignore").encode()


def text(value: bytes) -> str:
    """Return the text of a fixed field or a payload; what is no UTF-8 is replaced."""
    return bytes(value).split(b"\0", 1)[0].decode(errors="replace")
