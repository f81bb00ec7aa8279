"""Limits on how far the sides may lie apart, and what was found."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from scanside.comparison.records import Limit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scanside.comparison.totals import Summary

__all__ = ["Limits", "judge"]


class Limits(NamedTuple):
    """The limits that were asked for; none where there is none.

    Attributes
    ----------
    max_probability_difference
        Largest ``|B - A|`` of `tumor_probability` on any slice.
    min_dice
        Smallest mask Dice of A against B on any slice where either has enough pixels.
    max_flips
        Largest number of slices with a gate flip, a decision flip or a change of status.
    """

    max_probability_difference: float | None = None
    min_dice: float | None = None
    max_flips: int | None = None


def judge(summary: Summary, limits: Limits) -> list[Limit]:
    """Compare the sums with the limits.

    A limit for which nothing was measured fails: it was asked for and nothing shows that it
    holds. An output that is not finite fails the limit on its kind of output.

    Parameters
    ----------
    summary
        The sums.
    limits
        The limits.

    Returns
    -------
    list of Limit
        One for each that was asked for.
    """
    return list(_judged(summary, limits))


def _judged(summary: Summary, limits: Limits) -> Iterator[Limit]:
    failed = (summary.a_non_finite, summary.b_non_finite)
    if (most := limits.max_probability_difference) is not None:
        yield _limit(
            "--max-probability-difference",
            summary.tumor_probability.largest,
            f"at most {most:g}",
            passed=(summary.tumor_probability.largest or 0.0) <= most,
            bad=sum(each.tumor_probability for each in failed),
        )
    if (least := limits.min_dice) is not None:
        yield _limit(
            "--min-dice",
            summary.mask_dice.worst,
            f"at least {least:g}",
            passed=(summary.mask_dice.worst or 0.0) >= least,
            bad=sum(each.mask_probability for each in failed),
        )
    if limits.max_flips is not None:
        yield Limit(
            name="--max-flips",
            passed=summary.changed <= limits.max_flips,
            found=f"{summary.changed} slices",
            wanted=f"at most {limits.max_flips}",
        )


def _limit(name: str, found: float | None, wanted: str, *, passed: bool, bad: int) -> Limit:
    words = "nothing was measured" if found is None else f"{found:.6g}"
    if bad:
        words += f", and {bad} outputs that are not finite"
    return Limit(
        name=name, passed=passed and found is not None and not bad, found=words, wanted=wanted
    )
