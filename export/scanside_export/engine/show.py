"""What was built, as a table and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from scanside.engines import Sidecar  # noqa: TC001 - msgspec reads annotations
from scanside.fields import Count, Part
from scanside_export.engine.exchange import Layer  # noqa: TC001 - msgspec reads annotations

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from scanside_export.engine.run import Engine

__all__ = ["BUILD_SCHEMA", "as_json", "as_text"]

BUILD_SCHEMA: Final = "scanside.build/1"

_MIB: Final = 1 << 20
_SHOWN: Final = 5
"""Warnings that a table holds; the sidecar and the JSON hold all."""
_NOT_RUN: Final = (
    "compiled without a GPU: that these engines run, and how fast, is not known from this"
)


class EngineRecord(Part, frozen=True, kw_only=True):
    """One engine in the report.

    Attributes
    ----------
    role, plan
        Whose it is, and its file.
    sidecar
        As it lies beside the plan.
    kept
        Whether it was there already.
    strongly_typed
        Whether types came from the graph; none where it was there already.
    layers, memory, log
        What the builder told.
    peak_memory
        Bytes that the build held.
    """

    role: str
    plan: str
    sidecar: Sidecar
    kept: bool
    strongly_typed: bool | None
    layers: tuple[Layer, ...]
    memory: dict[str, Count]
    log: tuple[str, ...]
    peak_memory: Count


class Report(Part, frozen=True, kw_only=True):
    """``scanside build --json``."""

    schema: Literal["scanside.build/1"] = BUILD_SCHEMA
    run_on_gpu: bool = False
    engines: tuple[EngineRecord, ...]


def as_json(engines: Iterable[Engine]) -> bytes:
    """Return the report as JSON, ``scanside.build/1``.

    Parameters
    ----------
    engines
        What was built.
    """
    records = tuple(
        EngineRecord(
            role=engine.role,
            plan=str(engine.path),
            sidecar=engine.sidecar,
            kept=engine.strongly_typed is None,
            strongly_typed=engine.strongly_typed,
            layers=engine.layers,
            memory=engine.memory or {},
            log=engine.log,
            peak_memory=engine.peak,
        )
        for engine in engines
    )
    return msgspec.json.format(msgspec.json.encode(Report(engines=records)), indent=2) + b"\n"


def as_text(engines: Sequence[Engine]) -> str:
    """Return the report as tables.

    Parameters
    ----------
    engines
        What was built.
    """
    lines: list[str] = []
    for engine in engines:
        lines += [*_engine(engine), ""]
    if any(engine.sidecar.key.runtime == "tensorrt_rtx" for engine in engines):
        lines += [_NOT_RUN, ""]
    return "\n".join(lines)


def _engine(engine: Engine) -> list[str]:
    sidecar = engine.sidecar
    key = sidecar.key
    low, best, high = key.profile
    facts: dict[str, Any] = {
        "plan": f"{engine.path} ({sidecar.size / _MIB:.1f} MiB)",
        "for": f"{key.gpu_name} ({key.compute_capability}), {key.runtime} {key.runtime_version}",
        "batch": f"{low} to {high}, best at {best}",
        "built": f"{sidecar.built} in {sidecar.seconds:.1f} s",
    }
    if engine.memory:
        facts["memory"] = ", ".join(
            f"{name} {size / _MIB:.1f} MiB" for name, size in sorted(engine.memory.items())
        )
    if engine.strongly_typed is not None:
        facts["types"] = "of the graph" if engine.strongly_typed else "chosen by the library"
    lines = [f"{sidecar.model} in {key.precision}"]
    lines += [f"  {name:<8}{value}" for name, value in facts.items()]
    if sidecar.layers:
        lines.append("  kernels reads -> writes")
        lines += [f"  {count:>7} {kind}" for kind, count in sidecar.layers.items()]
    lines += [f"  warning: {text}" for text in sidecar.warnings[:_SHOWN]]
    if (more := len(sidecar.warnings) - _SHOWN) > 0:
        lines.append(f"  warning: and {more} more, in the sidecar")
    return lines
