"""The numbers of the embedding protocol, by name; ``docs/protocol.md`` says what they mean."""

from __future__ import annotations

from enum import IntEnum, IntFlag

__all__ = [
    "Cause",
    "DrainFlag",
    "Dtype",
    "ErrorFlag",
    "HelloFlag",
    "InferFlag",
    "Kind",
    "MaskForm",
    "ResultFlag",
    "Status",
    "Tumor",
]


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
