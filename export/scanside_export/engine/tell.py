"""What the library says while it builds: its log, and how far it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from scanside_export.engine.exchange import Progress, Said
from scanside_export.engine.library import has

if TYPE_CHECKING:
    from collections.abc import Callable

    from scanside_export.engine.exchange import Event

__all__ = ["Phases", "make_logger", "make_monitor"]

_KEPT: Final = ("LayerType: ", "Total Activation Memory", "Total Weights Memory")
"""What is kept of the log's lines: layers and memory."""

_TIMED: Final = "Computing costs for"
"""TensorRT 8.x's log has this line once for each layer that it times."""

_WITHOUT_DRIVER: Final = "cudaError 35"
"""TensorRT-RTX compiles without a driver and still says that there is none."""


def make_logger(trt: Any, tell: Callable[[Event], None]) -> Any:  # noqa: ANN401
    """Return a logger of the library.

    Parameters
    ----------
    trt
        The library.
    tell
        Takes warnings and errors, and progress where the log has to give it.

    Returns
    -------
    ILogger
        With `lines` (what was said of layers and memory), `errors`, and `follow`, which takes
        the number of layers and derives progress from the log from then on.
    """
    severity = trt.ILogger

    class Logger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.lines: list[str] = []
            self.errors: list[str] = []
            self._layers = 0
            self._timed = 0

        def follow(self, layers: int) -> None:
            self._layers = layers

        def log(self, level: Any, text: str) -> None:  # noqa: ANN401
            if _WITHOUT_DRIVER in text:
                return
            if level in (severity.INTERNAL_ERROR, severity.ERROR):
                self.errors.append(text)
                tell(Said(error=True, text=text))
            elif level == severity.WARNING:
                tell(Said(error=False, text=text))
            self.lines += [line for line in text.splitlines() if any(k in line for k in _KEPT)]
            if self._layers and _TIMED in text:
                self._timed = min(self._timed + 1, self._layers)
                tell(Progress(done=self._timed / self._layers, phase="timing layers"))

    return Logger()


def make_monitor(trt: Any, config: Any, tell: Callable[[Event], None]) -> Any:  # noqa: ANN401
    """Watch a build's progress where the version can tell it.

    Parameters
    ----------
    trt
        The library.
    config
        The builder's configuration.
    tell
        Takes the progress.

    Returns
    -------
    IProgressMonitor or None
        It has to live as long as the build; None where the version has no such thing.
    """
    if not (has(trt, "IProgressMonitor") and has(config, "progress_monitor")):
        return None

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._phases = Phases()

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self._phases.start(phase_name, parent_phase, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            tell(Progress(done=self._phases.step(phase_name, step), phase=phase_name))
            return True  # go on

        def phase_finish(self, phase_name: str) -> None:
            tell(Progress(done=self._phases.finish(phase_name), phase=phase_name))

    config.progress_monitor = monitor = Monitor()
    return monitor


class Phases:
    """Phases within phases as one share that never falls.

    A phase within another stands for the outer one's current step. The steps are not equally
    long, so what is derived from the share (time left) is an estimate.
    """

    def __init__(self) -> None:
        self._open: dict[str, tuple[str | None, int, int]] = {}
        self._share = 0.0

    def start(self, phase: str, parent: str | None, steps: int) -> None:
        """Take note of a phase."""
        self._open[phase] = (parent, max(steps, 1), 0)

    def step(self, phase: str, step: int) -> float:
        """Take note of a finished step, counted from 0, and return the share, 0 to 1."""
        if phase in self._open:
            parent, steps, _ = self._open[phase]
            self._open[phase] = (parent, steps, min(step + 1, steps))
        return self._now()

    def finish(self, phase: str) -> float:
        """Take note of a phase's end and return the share, 0 to 1."""
        parent, steps, _ = self._open.pop(phase, (None, 1, 0))
        if parent is None and not self._open:
            self._share = 1.0 if steps > 1 else self._share
        return self._now()

    def _now(self) -> float:
        outermost = [name for name, (parent, _, _) in self._open.items() if parent is None]
        self._share = max([self._share, *(self._of(name) for name in outermost)])
        return self._share

    def _of(self, phase: str) -> float:
        _, steps, done = self._open[phase]
        inner = [self._of(name) for name, (parent, _, _) in self._open.items() if parent == phase]
        return min((done + max(inner, default=0.0)) / steps, 1.0)
