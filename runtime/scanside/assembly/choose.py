"""Which series of a study is which sequence, and why."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from scanside.assembly.patient import check_identity
from scanside.errors import InputError
from scanside.preprocess import CHANNELS
from scanside.study.orient import axial_view, seen
from scanside.study.reasons import refused
from scanside.study.resample import same_grid

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scanside.assembly.candidates import Candidate
    from scanside.assembly.collect import StudyFiles
    from scanside.assembly.rules import Rules
    from scanside.study.grid import Grid
    from scanside.study.model import View
    from scanside.study.stack import Stack

__all__ = ["FLAIR_FIRST", "Chosen", "Placed", "Verdict", "choose", "place"]

FLAIR_FIRST: Final = ("FLAIR", *(name for name in CHANNELS if name != "FLAIR"))
"""The sequences in the order in which they are looked for: the others lie on FLAIR's grid."""

_THICK: Final = 2.0
"""A series that is not axial is reformatted if its slices lie at most this many pixels apart;
farther, an axial section of it would consist of bands."""


class Placed(NamedTuple):
    """A candidate whose slices make a grid.

    Attributes
    ----------
    candidate
        The series.
    stack
        Its slices in order.
    view, grid
        The axial view of it, and the grid of that.
    """

    candidate: Candidate
    stack: Stack
    view: View
    grid: Grid

    @property
    def axial(self) -> bool:
        """Whether it was acquired axially, or nearly so."""
        return self.view.axes[0] == 0


class Verdict(NamedTuple):
    """What became of a series.

    Attributes
    ----------
    candidate
        The series.
    sequence
        The sequence that it is; none for one that was not taken.
    why
        The rule that takes it, or the reason's name and text.
    """

    candidate: Candidate
    sequence: str | None
    why: str


@dataclass(eq=False)
class Chosen:
    """The series that are the sequences of a study.

    Attributes
    ----------
    name
        The study's name.
    series
        By sequence; none may be missing if `error` is none and nothing is to be filled.
    verdicts
        What became of each series.
    missing
        For each sequence that is missing: why, where a series would have been it.
    error
        Why the study is refused; none where it is not.
    """

    name: str
    series: dict[str, Placed] = field(default_factory=dict)
    verdicts: list[Verdict] = field(default_factory=list)
    missing: dict[str, InputError] = field(default_factory=dict)
    error: InputError | None = None


class _Match(NamedTuple):
    """A series that a rule takes."""

    rank: int
    why: str
    placed: Placed


def choose(
    study: StudyFiles,
    rules: Rules,
    *,
    fill: bool = False,
    named: Mapping[str, Candidate] | None = None,
) -> Chosen:
    """Choose the series of a study.

    Parameters
    ----------
    study
        The study.
    rules
        The site's rules.
    fill
        Whether a study may lack sequences other than FLAIR.
    named
        The series that the user named, by sequence: no rule is asked.

    Returns
    -------
    Chosen
        With `Chosen.error` where the study is refused: the verdicts are there in any case.
    """
    chosen = Chosen(study.name)
    matches = _matches(chosen, study.candidates, rules) if named is None else _named(chosen, named)
    try:
        check_identity(study.candidates if named is None else named.values())
        for sequence in FLAIR_FIRST:
            _pick(chosen, sequence, matches.get(sequence, []))
        _check_missing(chosen, fill=fill)
        _check_readable(study)
    except InputError as error:
        chosen.error = error
        _add_unchosen(chosen, matches)
    return chosen


def _check_readable(study: StudyFiles) -> None:
    """Refuse a study beside whose files some can't be read.

    They may be slices at an end of a series: what is left would pass for all of it.
    """
    if study.unreadable:
        source, reason = study.unreadable[0]
        raise refused(
            "unreadable files",
            f"{len(study.unreadable)} files beside its series cannot be read, the first of them"
            f" {source.rpartition('/')[2]}: {reason}",
            accepted="a study all of whose files can be read",
            remedy="copy or export it again, or move away what is not of it",
        )


def place(candidate: Candidate) -> Placed:
    """Put a series' slices in order and say how they are seen axially.

    Raises
    ------
    InputError
        With a reason of `scanside.study.stack`, or ``slices too thick``.
    """
    stack = candidate.stack()
    view = axial_view(stack.grid)
    spacing = stack.grid.spacing
    between = spacing.between_slices or 0.0
    if view.axes[0] != 0 and between > _THICK * min(spacing.row, spacing.column):
        raise refused(
            "slices too thick",
            f"the acquisition is not axial, and its slices lie {between:.1f} mm apart",
            accepted=f"axial series, or others whose slices lie at most {_THICK:g} pixels apart",
            remedy="give an axial series or a 3-D one",
        )
    return Placed(candidate, stack, view, seen(stack.grid, view))


def _matches(
    chosen: Chosen, candidates: Sequence[Candidate], rules: Rules
) -> dict[str, list[_Match]]:
    """Ask the rules about every series; say what becomes of those that none takes."""
    found: dict[str, list[_Match]] = {}
    for candidate in candidates:
        refusal, taken = rules.judge(candidate.attributes)
        refusal = candidate.refusal() or refusal
        if refusal is not None or taken is None:
            chosen.verdicts.append(Verdict(candidate, None, str(refusal)))
            if refusal is not None and taken is not None and not candidate.own:
                # Should nothing else be that sequence, this is why.
                sequence = taken[1].sequence
                chosen.missing.setdefault(sequence, _about(candidate, sequence, refusal))
            continue
        rank, rule = taken
        _add(chosen, found, candidate, rule.sequence, (rank, rule.name))
    return found


def _named(chosen: Chosen, named: Mapping[str, Candidate]) -> dict[str, list[_Match]]:
    found: dict[str, list[_Match]] = {}
    for sequence, candidate in named.items():
        refusal = candidate.refusal()
        if refusal is not None:
            chosen.missing[sequence] = _about(candidate, sequence, refusal)
            chosen.verdicts.append(Verdict(candidate, None, str(refusal)))
        else:
            _add(chosen, found, candidate, sequence, (0, "named by the user"))
    return found


def _add(
    chosen: Chosen,
    found: dict[str, list[_Match]],
    candidate: Candidate,
    sequence: str,
    rule: tuple[int, str],
) -> None:
    try:
        found.setdefault(sequence, []).append(_Match(*rule, place(candidate)))
    except InputError as error:
        chosen.verdicts.append(Verdict(candidate, None, f"{error} (it would be {sequence})"))
        chosen.missing.setdefault(sequence, _about(candidate, sequence, error))


def _about(candidate: Candidate, sequence: str, error: InputError) -> InputError:
    """Say of a series' refusal which series and sequence it is about; the reason stays first."""
    reason, _, rest = error.given.partition(": ")
    return InputError(
        f"{reason}: {candidate.label} ({sequence}): {rest}",
        accepted=error.accepted,
        remedy=error.remedy,
    )


def _pick(chosen: Chosen, sequence: str, matches: list[_Match]) -> None:
    """Take the best of the series that may be a sequence."""
    flair = chosen.series.get("FLAIR")
    near = []
    for match in matches:
        frame = match.placed.grid.frame_of_reference_uid
        if flair is not None and frame != flair.grid.frame_of_reference_uid:
            error = refused(
                "other frame of reference",
                "its positions cannot be related to FLAIR's",
                accepted="series of one frame of reference",
                remedy="register the series and export them into one frame of reference",
            )
            candidate = match.placed.candidate
            chosen.verdicts.append(Verdict(candidate, None, f"{error} (it would be {sequence})"))
            chosen.missing.setdefault(sequence, _about(candidate, sequence, error))
        else:
            near.append(match)
    near.sort(key=lambda match: _preference(match, flair))
    if not near:
        return
    best, others = near[0], near[1:]
    equal = [match for match in others if _preference(match, flair) == _preference(best, flair)]
    for match in others:
        why = f"another series is preferred: {best.placed.candidate.label} ({sequence})"
        chosen.verdicts.append(Verdict(match.placed.candidate, None, why))
    if equal:
        labels = ", ".join(match.placed.candidate.label for match in (best, *equal))
        chosen.verdicts.append(Verdict(best.placed.candidate, None, "ambiguous series"))
        raise refused(
            "ambiguous series",
            f"{labels} may each be {sequence}",
            accepted="one series that the rules prefer",
            remedy="name them with --pre, --flair and --post, or give --rules FILE;"
            " --explain shows all",
        )
    chosen.series[sequence] = best.placed
    chosen.missing.pop(sequence, None)
    chosen.verdicts.append(Verdict(best.placed.candidate, sequence, best.why))


def _add_unchosen(chosen: Chosen, matches: Mapping[str, list[_Match]]) -> None:
    """Say of the series that no choice got to, because the study was refused, what they may be."""
    told = {id(verdict.candidate) for verdict in chosen.verdicts}
    for sequence, found in matches.items():
        for match in found:
            if id(match.placed.candidate) not in told:
                why = f"the study is refused (it would be {sequence})"
                chosen.verdicts.append(Verdict(match.placed.candidate, None, why))


def _preference(match: _Match, flair: Placed | None) -> tuple[int, bool, bool, bool]:
    placed = match.placed
    elsewhere = flair is not None and not same_grid(placed.grid, flair.grid)
    return match.rank, elsewhere, not placed.axial, placed.candidate.derived


def _check_missing(chosen: Chosen, *, fill: bool) -> None:
    missing = [name for name in FLAIR_FIRST if name not in chosen.series]
    if not missing or (fill and "FLAIR" not in missing):
        return
    for name in missing:
        if name in chosen.missing:
            raise chosen.missing[name]
    may_fill = (
        ""
        if "FLAIR" in missing
        else (", or give --fill-missing to let FLAIR stand in for it (the results say so)")
    )
    raise refused(
        "missing sequence",
        f"no series is {' or '.join(missing)}",
        accepted=f"a study with {', '.join(CHANNELS)}",
        remedy=f"see scanside run --explain, name series with --pre, --flair and --post{may_fill}",
    )
