"""What a run says while it trains: log files, one line an epoch, and when it will be done."""

from __future__ import annotations

import csv
import io
import time
from typing import TYPE_CHECKING, Any, Final

import msgspec

from scanside.writers.files import write_atomic

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from scanside_training.checkpoint import Epoch
    from scanside_training.config import Phase

__all__ = ["Progress", "describe", "write_logs"]

_EVERY: Final = 30.0
"""Seconds between two lines within an epoch."""


def write_logs(folder: Path, history: tuple[Epoch, ...], *, tensorboard: bool = False) -> None:
    """Write ``log.jsonl`` and ``log.csv`` from the whole history.

    They are written anew after each epoch: a resumed run never repeats or loses a line.
    TensorBoard's events are appended; an epoch that is done twice has the same step.
    """
    lines = [msgspec.json.encode(row) + b"\n" for row in history]
    write_atomic(folder / "log.jsonl", b"".join(lines))
    rows = [_flat(row) for row in history]
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, fieldnames=list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    write_atomic(folder / "log.csv", text.getvalue().encode())
    if tensorboard:
        _write_events(folder / "tensorboard", rows[-1])


def describe(row: Epoch, total: int) -> str:
    """Return an epoch as one line."""
    metrics = "  ".join(f"{name} {value:.4f}" for name, value in row.validation.items())
    return (
        f"epoch {row.epoch + 1}/{total}  {row.side} px  loss {row.loss:.4f}  {metrics}"
        f"  {row.seconds:.0f} s + {row.validation_seconds:.0f} s  waited {row.wait_share:.1%}"
        + ("  best" if row.best else "")
    )


class Progress:
    """Says how far a run is and when it will be done.

    The time of a slice is taken to grow with its number of pixels.

    Parameters
    ----------
    console
        Where to write: standard error.
    phases
        The run's phases.
    slices
        Slices an epoch.
    """

    def __init__(self, console: Console, phases: tuple[Phase, ...], slices: int) -> None:
        self._console = console
        self._work = [phase.side**2 * slices for phase in phases for _ in range(phase.epochs)]
        self._spent, self._done = 0.0, 0.0
        self._spoken = time.monotonic()

    def step(self, epoch: int, done: float, loss: float, seconds: float) -> None:
        """Tell of the share `done` of an epoch that has taken `seconds`; seldom says so."""
        if not done or time.monotonic() - self._spoken < _EVERY:
            return
        self._spoken = time.monotonic()
        left = self._left(self._spent + seconds, self._done + done * self._work[epoch], epoch, done)
        self._console.print(
            f"epoch {epoch + 1}/{len(self._work)}  {done:.0%}  loss {loss:.4f}  {left} left"
        )

    def epoch(self, row: Epoch) -> None:
        """Tell of an epoch that is done."""
        self._spent += row.seconds + row.validation_seconds
        self._done += self._work[row.epoch]
        self._spoken = time.monotonic()
        left = self._left(self._spent, self._done, row.epoch, 1.0)
        self._console.print(f"{describe(row, len(self._work))}  {left} left")

    def _left(self, spent: float, done: float, epoch: int, share: float) -> str:
        rest = sum(self._work[epoch + 1 :]) + (1 - share) * self._work[epoch]
        minutes, seconds = divmod(round(rest * spent / done), 60)
        hours, minutes = divmod(minutes, 60)
        return f"{hours}:{minutes:02}:{seconds:02}"


def _write_events(folder: Path, row: dict[str, Any]) -> None:
    import tensorflow as tf

    # tf.summary.scalar needs the tensorboard package; only looking at the events should.
    kind = tf.compat.v1.SummaryMetadata(plugin_data={"plugin_name": "scalars"})
    writer = tf.summary.create_file_writer(str(folder))
    with writer.as_default(step=row["epoch"] + 1):
        for name, value in row.items():
            if isinstance(value, float):
                tf.summary.write(name, tf.constant(value), metadata=kind)
    writer.close()


def _flat(row: Epoch) -> dict[str, Any]:
    table = msgspec.to_builtins(row)
    metrics = table.pop("validation")
    return {**table, **{f"validation_{name}": value for name, value in metrics.items()}}
