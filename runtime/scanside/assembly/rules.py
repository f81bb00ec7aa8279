"""Rules that say which series is which sequence, from a TOML file: sites differ."""

from __future__ import annotations

import re
from importlib.resources import files
from typing import TYPE_CHECKING, Annotated, Final, Literal, NamedTuple

from msgspec import Meta, Struct

from scanside.tomlfile import parse_toml, read_toml

if TYPE_CHECKING:
    from pathlib import Path

    from scanside.study.reasons import Reason

__all__ = ["Attributes", "Exclude", "Rules", "Take", "load_rules"]

_SEPARATORS: Final = re.compile(r"[\s_\-./^]+")

_MINUS: Final = re.compile(r"\+/?-|(?<=\s)-(?=(?:c|gd|gad\w*|km)\b)", re.IGNORECASE)
"""A dash that means something: that there was no agent, or that both are there."""

_REMEDY: Final = "see scanside/assembly/rules.toml, the rules that ship, for every field"

_Range = Annotated[tuple[float, float], Meta(description="lowest and highest")]


class Attributes(NamedTuple):
    """What rules look at.

    Attributes
    ----------
    description
        SeriesDescription and ProtocolName, or the NIfTI file's name.
    image_type, scanning_sequence, contrast
        As text, values parted by backslashes.
    body_part
        BodyPartExamined.
    agent
        Whether a contrast agent is recorded.
    repetition_time_ms, echo_time_ms, inversion_time_ms
        Milliseconds; none where absent.
    """

    description: str = ""
    image_type: str = ""
    scanning_sequence: str = ""
    contrast: str = ""
    body_part: str = ""
    agent: bool = False
    repetition_time_ms: float | None = None
    echo_time_ms: float | None = None
    inversion_time_ms: float | None = None


class _Conditions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Conditions of a rule; all that are given must hold."""

    description: str | None = None
    not_description: str | None = None
    image_type: str | None = None
    scanning_sequence: str | None = None
    contrast: str | None = None
    agent: bool | None = None
    repetition_time_ms: _Range | None = None
    echo_time_ms: _Range | None = None
    inversion_time_ms: _Range | None = None

    def __post_init__(self) -> None:
        for name in (*_PATTERNS, "not_description"):
            pattern = getattr(self, name)
            if pattern is not None:
                try:
                    re.compile(pattern)
                except re.error as error:
                    raise ValueError(f"{name}: {error}") from None

    def hold(self, attributes: Attributes) -> bool:
        """Tell whether every condition holds."""
        described = _plain(attributes.description)
        if self.not_description is not None and re.search(self.not_description, described):
            return False
        if self.agent is not None and self.agent != attributes.agent:
            return False
        return all(self._matches(name, attributes) for name in _PATTERNS) and all(
            self._within(name, attributes) for name in _RANGES
        )

    def _matches(self, name: str, attributes: Attributes) -> bool:
        pattern: str | None = getattr(self, name)
        if pattern is None:
            return True
        value: str = getattr(attributes, name)
        if name == "description":
            return bool(re.search(pattern, _plain(value)))
        return bool(re.search(pattern, value, re.IGNORECASE))

    def _within(self, name: str, attributes: Attributes) -> bool:
        limits: tuple[float, float] | None = getattr(self, name)
        if limits is None:
            return True
        value: float | None = getattr(attributes, name)
        return value is not None and limits[0] <= value <= limits[1]


_PATTERNS: Final = ("description", "image_type", "scanning_sequence", "contrast")
_RANGES: Final = ("repetition_time_ms", "echo_time_ms", "inversion_time_ms")


class Exclude(_Conditions, frozen=True, kw_only=True):
    """A rule that leaves a series out."""

    reason: Literal["localizer", "excluded by the rules"]


class Take(_Conditions, frozen=True, kw_only=True):
    """A rule that makes a series a candidate for a sequence."""

    sequence: Literal["pre-contrast", "FLAIR", "post-contrast"]
    name: str


class Rules(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The rules of a site.

    Attributes
    ----------
    body_parts
        Accepted values of BodyPartExamined, besides none; in either case of letters.
    exclude, take
        In order: the first that holds counts.
    """

    schema: Literal["scanside.series-rules/1"]
    body_parts: tuple[str, ...]
    exclude: tuple[Exclude, ...] = ()
    take: tuple[Take, ...]

    def excluded(self, attributes: Attributes) -> tuple[Reason, str] | None:
        """Say why a series is left out, if it is."""
        part = attributes.body_part.upper()
        if part and re.sub("[^A-Z]", "", part) not in map(str.upper, self.body_parts):
            return "wrong body part", "BodyPartExamined is not among those of the rules"
        for rule in self.exclude:
            if rule.hold(attributes):
                return rule.reason, "by its description or image type"
        return None

    def taken(self, attributes: Attributes) -> tuple[int, Take] | None:
        """Return the first rule that takes a series, and its place among the rules."""
        for at, rule in enumerate(self.take):
            if rule.hold(attributes):
                return at, rule
        return None


def load_rules(path: Path | None = None) -> Rules:
    """Load rules.

    Parameters
    ----------
    path
        The file; none for the one that ships.

    Raises
    ------
    UsageError
        If it cannot be read or a field is not valid.
    """
    if path is not None:
        return read_toml(path, Rules, what="the rules", remedy=_REMEDY)
    text = files("scanside.assembly").joinpath("rules.toml").read_text(encoding="utf-8")
    return parse_toml(text, Rules, remedy=_REMEDY)


def _plain(text: str) -> str:
    return _SEPARATORS.sub(" ", _MINUS.sub(" minus ", text)).strip().lower()
