"""Rules that say which series is which sequence, from a TOML file: sites differ."""

from __future__ import annotations

import re
from importlib.resources import files
from typing import TYPE_CHECKING, Annotated, Final, Literal, NamedTuple, TypeVar

from msgspec import Meta, Struct
from msgspec.structs import force_setattr, replace

from scanside.study.reasons import refused
from scanside.tomlfile import parse_toml, read_toml

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from scanside.errors import InputError
    from scanside.study.reasons import Reason

__all__ = ["PARTED", "Attributes", "Exclude", "Rules", "Take", "load_rules"]

_SEPARATORS: Final = re.compile(r"[\s_\-./^]+")

PARTED: Final = " / "
"""What stands between SeriesDescription and ProtocolName."""

_MINUS: Final = re.compile(r"\+/?-|(?<=\s)-(?=(?:c|gd|gad\w*|km)\b)", re.IGNORECASE)
"""A dash that means something: that there was no agent, or that both are there."""

_WORD: Final = re.compile(r"\{([a-z]\w*)\}")
"""A word's name in a pattern; what regular expressions have in braces are numbers."""

_REMEDY: Final = "see scanside/assembly/rules.toml, the rules that ship, for every field"

_Range = Annotated[tuple[float, float], Meta(description="lowest and highest")]


class Attributes(NamedTuple):
    """What rules look at.

    Attributes
    ----------
    description
        SeriesDescription and ProtocolName, with `PARTED` between them, or the NIfTI file's name.
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


_R = TypeVar("_R", Exclude, Take)


class Rules(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The rules of a site.

    Attributes
    ----------
    body_parts
        Accepted values of BodyPartExamined, besides none; in either case of letters.
    words
        Parts of patterns, by what stands in braces for them in the patterns and words that follow.
    exclude, take
        In order: the first that holds counts. Their patterns are filled in.
    """

    schema: Literal["scanside.series-rules/1"]
    body_parts: tuple[str, ...]
    words: dict[str, str] = {}
    exclude: tuple[Exclude, ...] = ()
    take: tuple[Take, ...]

    def __post_init__(self) -> None:
        words: dict[str, str] = {}
        for name, word in self.words.items():
            words[name] = _filled(word, words)
        for rules in ("exclude", "take"):
            force_setattr(self, rules, tuple(_rule(each, words) for each in getattr(self, rules)))

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

    def judge(
        self, described: Sequence[Attributes]
    ) -> tuple[InputError | None, tuple[int, Take] | None]:
        """Say what a series is.

        Parameters
        ----------
        described
            What its files say, at least one; they must not be taken for different things.

        Returns
        -------
        refusal
            Why it is not taken; none if it is.
        taken
            The rule that takes it, or would, and its place; the last where files differ in it.
        """
        verdicts = [(self.excluded(each), self.taken(each)) for each in described]
        taken = max((rule for _, rule in verdicts if rule), key=lambda rule: rule[0], default=None)
        if len({(excluded, rule and rule[1].sequence) for excluded, rule in verdicts}) > 1:
            refusal = refused(
                "ambiguous series",
                "by their descriptions its files are not all of one sequence",
                accepted="series whose files are described alike",
                remedy="correct or split the series, or name it with --pre, --flair or --post",
            )
            return refusal, taken
        excluded, rule = verdicts[0]
        if excluded is not None:
            return refused(*excluded), taken
        if rule is None:
            return refused("no rule takes it", "neither by its description nor its times"), None
        return None, taken


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


def _rule(rule: _R, words: Mapping[str, str]) -> _R:
    names = (*_PATTERNS, "not_description")
    given = {name: pattern for name in names if (pattern := getattr(rule, name)) is not None}
    return replace(rule, **{name: _filled(pattern, words) for name, pattern in given.items()})


def _filled(pattern: str, words: Mapping[str, str]) -> str:
    for name in _WORD.findall(pattern):
        if name not in words:
            raise ValueError(f"{{{name}}} is none of [words], or comes before it")
    return _WORD.sub(lambda found: words[found[1]], pattern)


def _plain(text: str) -> str:
    parted = text.replace(PARTED, " | ")
    return _SEPARATORS.sub(" ", _MINUS.sub(" minus ", parted)).strip().lower()
