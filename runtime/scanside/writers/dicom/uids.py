"""UIDs that follow from what an object is made of.

The same input, bundle and options give the same UIDs, so that an object that is sent twice is one
object to whoever receives it; anything else gives others.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from typing import Final

import msgspec

from scanside.errors import UsageError

__all__ = ["Identity", "check_root"]

_UUID_ROOT: Final = "2.25"
"""Root of UIDs that are UUIDs as decimal numbers (PS3.5 B.2, ITU-T X.667)."""

_LONGEST: Final = 64
"""Characters of a UID (PS3.5 9.1)."""

_FEWEST_DIGITS: Final = 20
"""Digits below a site's root: of a million objects, two share a number with a probability below
1 in 100 million."""

_ROOT: Final = re.compile(r"[012](\.(0|[1-9][0-9]*))+")


def check_root(root: str) -> None:
    """Refuse a root for UIDs that is none.

    Raises
    ------
    UsageError
        If it is no UID, or leaves fewer than 20 digits for what comes below it.
    """
    room = _LONGEST - len(root) - 1
    if not _ROOT.fullmatch(root) or room < _FEWEST_DIGITS:
        raise UsageError(
            f"the UID root {root!r}",
            accepted=f"numbers with dots, at most {_LONGEST - _FEWEST_DIGITS - 1} characters,"
            " such as 1.2.826.0.1.3680043.10.999",
            remedy="give the root that your site was assigned, or none for UIDs below 2.25",
        )


class Identity:
    """The UIDs of all that is made from the same facts.

    Parameters
    ----------
    facts
        Anything of numbers, strings, sequences and mappings; of other things, their text.
    root
        A site's root; none for UUIDs below ``2.25``.

    Raises
    ------
    UsageError
        If the root is none.
    """

    def __init__(self, facts: object, root: str | None = None) -> None:
        if root is not None:
            check_root(root)
        self._root = root
        encoded = msgspec.json.encode(facts, enc_hook=str, order="deterministic")
        self.sha256: Final = hashlib.sha256(encoded).hexdigest()

    def uid(self, role: str) -> str:
        """Return the UID of one thing among these.

        Parameters
        ----------
        role
            What it is the UID of, for instance ``sr`` or ``capture 3``.
        """
        digest = hashlib.sha256(f"{self.sha256} {role}".encode()).digest()
        if self._root is None:
            # RFC 9562: version 8 is a UUID of the maker's own form.
            return f"{_UUID_ROOT}.{_version_8(digest[:16]).int}"
        room = _LONGEST - len(self._root) - 1
        number = int.from_bytes(digest[:16], "big") % 10 ** min(room, 39)
        return f"{self._root}.{number}"


def _version_8(digest: bytes) -> uuid.UUID:
    number = int.from_bytes(digest, "big")
    number &= ~((0xF << 76) | (0x3 << 62))
    return uuid.UUID(int=number | (8 << 76) | (0x2 << 62))
