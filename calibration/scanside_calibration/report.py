"""What a calibration found, collected while it runs: tables for people, JSON for programs.

A refusal needs its tables more than a success does, so they are there whichever way it ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from msgspec import structs

from scanside.contract import ROLES
from scanside_calibration.document import GuardRound, Report

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from scanside.contract import Precision, Role
    from scanside_calibration.document import Facts
    from scanside_calibration.search import Trial
    from scanside_calibration.sensitivity import Effect, FloatNodes, Round

__all__ = ["LABELS", "Record", "Table", "effect_table", "guard_table", "markdown", "trial_table"]

LABELS: Final = {
    "dice_drop": "volume Dice after gating, mean over patients",
    "auc_drop": "classifier AUC",
    "sensitivity_drop": "sensitivity at the gate",
    "agreement_mean": "Dice of masks against FP32, mean",
    "agreement_p5": "Dice of masks against FP32, 5th percentile",
}
"""What the figures of the guard are, by their names."""

_SHOWN: Final = 15
"""Layers that a table shows; the JSON has all."""


class Table(NamedTuple):
    """A table of words.

    Attributes
    ----------
    title
        What it is.
    columns
        Their heads.
    rows
        As many words each.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


class Record:
    """What was found so far.

    Attributes
    ----------
    facts
        What is calibrated, on what; none until that is known.
    trials
        The methods that were compared.
    rounds
        What the guard was asked, by precision.
    effects
        What each layer costs, by model.
    """

    def __init__(self) -> None:
        self.facts: Facts | None = None
        self.trials: tuple[Trial, ...] = ()
        self.rounds: dict[Precision, list[Round]] = {}
        self.effects: dict[Role, tuple[Effect, ...]] = {}

    def tables(self) -> Iterator[Table]:
        """Yield what there is to show, in the order in which it was found."""
        for role in ROLES:
            if any(trial.role == role for trial in self.trials):
                yield trial_table(role, self.trials)
        rolled = self.rounds["int8"][-1].float_nodes if self.rounds.get("int8") else {}
        for role, effects in self.effects.items():
            yield effect_table(role, effects, rolled)
        for precision, rounds in self.rounds.items():
            yield guard_table(precision, rounds[-1])

    def document(self) -> Report | None:
        """Return everything for JSON; none before `facts` are known."""
        if self.facts is None:
            return None
        return Report(
            **structs.asdict(self.facts),
            methods=tuple(
                {
                    "model": trial.role,
                    "method": trial.label,
                    "chosen": trial.chosen,
                    "distance": trial.distance.value,
                    **trial.distance.figures,
                }
                for trial in self.trials
            ),
            sensitivity={
                role: tuple({**each.layer._asdict(), "regained": each.regained} for each in effects)
                for role, effects in self.effects.items()
            },
            guard={
                precision: tuple(
                    GuardRound(
                        float_nodes={r: tuple(sorted(n)) for r, n in each.float_nodes.items()},
                        passed=each.verdict.passed,
                        blamed=each.verdict.blamed,
                        figures=tuple(figure._asdict() for figure in each.verdict.figures),
                    )
                    for each in rounds
                )
                for precision, rounds in self.rounds.items()
            },
        )


def trial_table(role: Role, trials: Sequence[Trial]) -> Table:
    """Return the comparison of methods for one model."""
    own = [trial for trial in trials if trial.role == role]
    return Table(
        f"{role}: methods, on training patients that gave no ranges",
        ("method", "distance from FP32", *own[0].distance.figures, "chosen"),
        tuple(
            (
                trial.label,
                f"{trial.distance.value:.5f}",
                *(f"{value:.4g}" for value in trial.distance.figures.values()),
                "yes" if trial.chosen else "",
            )
            for trial in own
        ),
    )


def effect_table(role: Role, effects: Sequence[Effect], rolled: FloatNodes) -> Table:
    """Return the layers of one model by what they cost."""
    rows = tuple(
        (
            each.layer.node,
            each.layer.op_type,
            f"{each.regained:+.5f}",
            f"{each.layer.macs:.2%}",
            "float" if each.layer.node in rolled.get(role, ()) else "",
        )
        for each in effects[:_SHOWN]
    )
    shown = f"the worst {len(rows)} of {len(effects)} layers"
    return Table(
        f"{role}: sensitivity, {shown}", ("layer", "operator", "regained", "MACs", ""), rows
    )


def guard_table(precision: Precision, found: Round) -> Table:
    """Return what the guard said of a precision."""
    verdict = found.verdict
    return Table(
        f"{precision}: accuracy guard, patients kept from ranges and methods",
        ("figure", "computed by", "fp32", precision, "measured", "limit", ""),
        tuple(
            (
                LABELS[figure.name],
                figure.computed,
                "" if figure.name.startswith("agreement") else f"{figure.fp32:.4f}",
                f"{figure.other:.4f}",
                _signed(figure.name, figure.measured),
                ("at most " if figure.name.endswith("_drop") else "at least ")
                + f"{figure.limit:g}",
                "ok" if figure.passed else "FAIL",
            )
            for figure in verdict.figures
        ),
    )


def markdown(table: Table) -> str:
    """Return a table in Markdown, without its title."""
    lines = [_row(table.columns), "|" + "---|" * len(table.columns), *map(_row, table.rows)]
    return "\n".join(lines)


def _signed(name: str, value: float) -> str:
    return f"down by {value:.4f}" if name.endswith("_drop") else f"{value:.4f}"


def _row(words: Sequence[str]) -> str:
    return "| " + " | ".join(words) + " |"
