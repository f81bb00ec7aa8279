"""What a model card says of a derived precision."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scanside_calibration.report import guard_table, markdown, trial_table
from scanside_calibration.stated import STATED

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from scanside.contract import Precision, Role
    from scanside.evidence import Calibration, Guard, HalfCertificate
    from scanside_calibration.search import Trial
    from scanside_calibration.sensitivity import Round

__all__ = ["fp16_section", "int8_section"]


def int8_section(
    calibration: Mapping[Role, Calibration],
    trials: Sequence[Trial],
    evidence: Guard,
    rounds: Sequence[Round],
) -> str:
    """Return the section on INT8, in Markdown.

    Parameters
    ----------
    calibration
        Where the scales come from, by model.
    trials
        The methods that were compared.
    evidence
        On what the guard measured.
    rounds
        What it was asked, the last one passed.
    """
    return "\n".join(_int8_lines(calibration, trials, evidence, rounds))


def fp16_section(
    certificates: Mapping[Role, HalfCertificate], evidence: Guard, rounds: Sequence[Round]
) -> str:
    """Return the section on FP16, in Markdown.

    Parameters
    ----------
    certificates
        Why the models don't overflow.
    evidence, rounds
        As for `int8_section`.
    """
    lines = [
        f"- {role}: largest value {one.largest:.4g} ({one.node}), {one.margin:.3g} times below"
        f" FP16's largest; {len(one.float32_nodes)} nodes in float32; largest difference in FP16"
        f" arithmetic {one.reference_error:.2g} on {one.reference_slices} golden slices"
        for role, one in certificates.items()
    ]
    return "\n".join(["## FP16", "", *lines, "", *_guard_lines("fp16", evidence, rounds)])


def _int8_lines(
    calibration: Mapping[Role, Calibration],
    trials: Sequence[Trial],
    evidence: Guard,
    rounds: Sequence[Round],
) -> Iterator[str]:
    one = next(iter(calibration.values()))
    yield "## INT8"
    yield ""
    yield (
        f"Ranges from {one.slices} slices of {one.patients} training patients (sha256"
        f" {one.images_sha256[:12]}); explicit quantisation, int8 weights and activations."
    )
    yield ""
    for role, each in calibration.items():
        nodes = ", ".join(f"`{name}`" for name in each.float_nodes) or "none"
        yield f"- {role}: {each.method}; layers in float: {nodes}"
    for role in calibration:
        yield ""
        yield f"Methods for the {role}, compared on training patients that gave no ranges:"
        yield ""
        yield markdown(trial_table(role, trials))
    yield ""
    yield (
        f"`{STATED}` is the arithmetic that the files state, which TensorRT computes; `cpu` takes"
        " activations that are never negative to unsigned integers, twice as finely."
    )
    yield ""
    yield from _guard_lines("int8", evidence, rounds)


def _guard_lines(precision: Precision, evidence: Guard, rounds: Sequence[Round]) -> Iterator[str]:
    last, asked = rounds[-1], len(rounds)
    yield (
        f"Accuracy guard on {evidence.slices} slices of {evidence.patients} patients"
        f" ({evidence.data}), {evidence.backend}; agreement on {last.verdict.compared} slices;"
        f" asked {asked} {'time' if asked == 1 else 'times'}:"
    )
    yield ""
    yield markdown(guard_table(precision, last))
