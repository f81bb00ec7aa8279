"""Text for people, in which no name of a file steers the terminal that shows it.

A name may hold any byte but a slash and a zero: ESC begins a command to the terminal, a newline
makes up a line of its own, U+202E turns what is read after it around.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["is_text", "plain"]

_STEERING: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""C0 and C1 controls; line and paragraph separators; the bidirectional controls (Unicode Standard
Annex 9, table 4); surrogates, which stand for bytes that are no text (PEP 383)."""

_FIRST_BYTE: Final = 0xDC00


def plain(line: str) -> str:
    r"""Return a line of text with what would steer a terminal escaped, as ``\x1b``.

    Parameters
    ----------
    line
        One line: a newline in it is escaped too.
    """
    return _STEERING.sub(_escaped, line)


def is_text(given: str) -> bool:
    """Tell whether what the system gave is text, rather than bytes that are none (PEP 383)."""
    try:
        given.encode()
    except UnicodeEncodeError:
        return False
    return True


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    if _FIRST_BYTE <= code < _FIRST_BYTE + 0x100:  # a byte that is no text
        return f"\\x{code - _FIRST_BYTE:02x}"
    return found[0].encode("unicode_escape").decode()
