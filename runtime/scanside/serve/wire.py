"""The embedding protocol's messages as bytes: encode and decode, and nothing else.

``docs/protocol.md`` is the contract, byte by byte; its tables and its example are checked
against this module. Everything is little-endian. Nothing here allocates by what a message says.
"""

from __future__ import annotations

import struct
from enum import IntEnum, IntFlag
from typing import Any, Final, Generic, NamedTuple, TypeVar

import numpy as np

from scanside.errors import UsageError

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
    "Cause",
    "ClientHello",
    "Drain",
    "DrainFlag",
    "Dtype",
    "Error",
    "ErrorFlag",
    "Header",
    "HelloFlag",
    "Infer",
    "InferFlag",
    "Kind",
    "MaskForm",
    "Result",
    "ResultFlag",
    "ServerHello",
    "Stats",
    "Status",
    "Tumor",
    "WireError",
    "decode_header",
    "decode_runs",
    "encode",
    "encode_runs",
    "fixed_text",
    "mask_offset",
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

_ALIGNMENT: Final = 64
"""Bytes; a cache line, so that frame and mask of a slot share none."""


class Kind(IntEnum):
    """Types of messages."""

    HELLO = 1
    INFER = 2
    RESULT = 3
    ERROR = 4
    STATS = 5
    DRAIN = 6
    PING = 7
    ATTACH = 8
    BEGIN_STUDY = 16
    END_STUDY = 17


class Dtype(IntEnum):
    """Types of pixels."""

    U8 = 1
    U16 = 2
    F32 = 3


class MaskForm(IntEnum):
    """How a mask travels."""

    NONE = 0
    BYTES = 1
    RUNS = 2


class Status(IntEnum):
    """What `scanside.records.Status` says."""

    OK = 0
    INDETERMINATE = 1
    REJECTED = 2


class Tumor(IntEnum):
    """Whether the algorithm found a region."""

    FALSE = 0
    TRUE = 1
    UNKNOWN = 2


class Cause(IntEnum):
    """Why there is an ERROR, finer than the exit code beside it."""

    PROTOCOL = 1
    VERSION = 2
    UNSUPPORTED = 3
    REQUEST = 4
    QUEUE_FULL = 5
    TOO_LARGE = 6
    TIMEOUT = 7
    HUNG = 8
    BACKEND = 9
    DRAINING = 10
    INTERNAL = 11
    SHARED_MEMORY = 12
    START = 13


class HelloFlag(IntFlag):
    """Flags of HELLO; a client sends ORDERED alone."""

    ORDERED = 1
    SELF_TEST_PASSED = 2
    SELF_TEST_SKIPPED = 4
    NULL_BACKEND = 8
    STREAMING = 16
    FALLBACK = 32
    SHARED_MEMORY = 64


class InferFlag(IntFlag):
    """Flags of INFER."""

    WINDOW = 1
    SPACING = 2
    FILL_MISSING = 4
    SLOT = 8


class ResultFlag(IntFlag):
    """Flags of RESULT."""

    PROBABILITY = 1
    AREA = 2
    AREA_MM2 = 4
    BOX = 8
    FILLED = 16
    SLOT = 32
    NULL_BACKEND = 64


class ErrorFlag(IntFlag):
    """Flags of ERROR."""

    FATAL = 1


class DrainFlag(IntFlag):
    """Flags of a server's DRAIN."""

    GOING = 1


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
    lanes: int
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


def mask_offset(frame_bytes: int) -> int:
    """Return where in a slot the mask begins, after a frame of so many bytes."""
    return -(-frame_bytes // _ALIGNMENT) * _ALIGNMENT


def encode_runs(mask: np.ndarray[Any, np.dtype[np.uint8]]) -> bytes:
    """Return a mask as the lengths of its runs.

    Parameters
    ----------
    mask
        uint8 ``[H, W]``, 0 or 1.

    Returns
    -------
    bytes
        uint32 lengths by turns of 0 and of 1, in row order, the first one of 0.
    """
    flat = mask.reshape(-1)
    starts = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    edges = np.concatenate(([0], starts, [flat.size]))
    lengths = np.diff(edges).astype("<u4")
    if flat[0]:
        lengths = np.concatenate((np.zeros(1, "<u4"), lengths))
    return lengths.tobytes()


def decode_runs(
    data: bytes | bytearray | memoryview, height: int, width: int
) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return the mask that `encode_runs` made lengths of.

    Raises
    ------
    WireError
        If the lengths are not those of a mask of this size.
    """
    if len(data) % 4:
        raise WireError(f"run lengths of {len(data)} bytes", accepted="whole uint32 numbers")
    lengths = np.frombuffer(data, "<u4").astype(np.int64)
    if lengths.sum() != height * width:
        raise WireError(
            f"runs of {lengths.sum()} pixels", accepted=f"{height} x {width} = {height * width}"
        )
    values = (np.arange(lengths.size) % 2).astype(np.uint8)
    return np.repeat(values, lengths).reshape(height, width)
