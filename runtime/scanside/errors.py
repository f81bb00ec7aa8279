"""The errors of scanside, each with the exit code that the command line returns.

::

    ScansideError                    70  (never raised itself)
    ├── UsageError                    2  a call or an option that makes no sense
    ├── InputError                    3  an image, series or dataset that is not accepted
    ├── BundleError                   4  a bundle that is missing, damaged or not of this contract
    │   └── EngineError               4  an engine that is stale, foreign or damaged
    ├── ParityError                   5  outputs that differ from the golden ones
    ├── BenchmarkInvalidError         6  a measurement that may not be quoted
    ├── IndeterminateError            7  indeterminate results, with ``--strict``
    ├── BackendError                  8  a backend that cannot be used here
    │   ├── DeviceLostError           8  a device that this process can't use any more
    │   └── ExtraNotInstalledError    8  an optional dependency that is not installed
    ├── OutputError                   9  a result that could not be written
    └── InternalError                70  a defect of scanside itself, or memory that ran out

A message says what was given, what is accepted, and what to do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "EXIT_INTERRUPTED",
    "BackendError",
    "BenchmarkInvalidError",
    "BundleError",
    "DeviceLostError",
    "EngineError",
    "ExtraNotInstalledError",
    "IndeterminateError",
    "InputError",
    "InternalError",
    "OutputError",
    "ParityError",
    "ScansideError",
    "UsageError",
    "out_of_memory",
    "worst_exit_code",
]

EXIT_INTERRUPTED: Final = 130
"""128 + SIGINT, as shells report it."""

_PRECEDENCE: Final = (70, 9, 8, 4, 3, 7)
"""Which exit code is returned where several hold, most important first."""


class ScansideError(Exception):
    """Base of all errors that scanside raises on purpose.

    Parameters
    ----------
    given
        What was given, or what happened, with its name and values.
    accepted
        What would have been accepted; left out where nothing would.
    remedy
        What to do about it.
    places
        Each single thing that is wrong, where they are many: a line of the message each.
    """

    exit_code: ClassVar[int] = 70

    def __init__(
        self, given: str, *, accepted: str = "", remedy: str = "", places: Iterable[str] = ()
    ) -> None:
        super().__init__(given, accepted, remedy)
        self.given = given
        self.accepted = accepted
        self.remedy = remedy
        self.places = tuple(places)

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def lines(self) -> list[str]:
        """Return the message: its sentence, and a line for each place."""
        parts = [self.given]
        if self.accepted:
            parts.append(f"accepted: {self.accepted}")
        if self.remedy:
            parts.append(self.remedy)
        return ["; ".join(parts), *(f"- {place}" for place in self.places)]

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle by keyword, since the constructor takes keywords."""
        return (_rebuild, (type(self), self.given, self.accepted, self.remedy, self.places))


def _rebuild(
    kind: type[ScansideError], given: str, accepted: str, remedy: str, places: tuple[str, ...]
) -> ScansideError:
    return kind(given, accepted=accepted, remedy=remedy, places=places)


class UsageError(ScansideError):
    """A call or an option that makes no sense."""

    exit_code = 2


class InputError(ScansideError):
    """An image, a series or a dataset that is not accepted."""

    exit_code = 3


class BundleError(ScansideError):
    """A bundle that is missing, damaged or not of this contract."""

    exit_code = 4


class EngineError(BundleError):
    """An engine that is stale, foreign or damaged."""


class ParityError(ScansideError):
    """Outputs that differ from the golden ones by more than the stated tolerance."""

    exit_code = 5


class BenchmarkInvalidError(ScansideError):
    """A measurement that may not be quoted."""

    exit_code = 6


class IndeterminateError(ScansideError):
    """Indeterminate results in a run that was asked to be strict."""

    exit_code = 7


class BackendError(ScansideError):
    """A backend that cannot be used on this machine."""

    exit_code = 8


class DeviceLostError(BackendError):
    """A device that this process can't use any more: only a new process can.

    Whoever serves requests ends the process on it, with this exit code, and lets its supervisor
    start another one.
    """


class ExtraNotInstalledError(BackendError):
    """An optional dependency that is not installed.

    Parameters
    ----------
    what
        What needs it, for instance ``"scanside train"``.
    package
        The package that failed to import.
    extra
        The extra of scanside that brings it.
    """

    def __init__(self, what: str, *, package: str, extra: str) -> None:
        super().__init__(
            f"{what} needs {package}, which is not installed here",
            remedy=f"install it with: pip install 'scanside[{extra}]'",
        )
        self.what = what
        self.package = package
        self.extra = extra

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild_extra, (self.what, self.package, self.extra))


def _rebuild_extra(what: str, package: str, extra: str) -> ExtraNotInstalledError:
    return ExtraNotInstalledError(what, package=package, extra=extra)


class OutputError(ScansideError):
    """A result that could not be written."""

    exit_code = 9


class InternalError(ScansideError):
    """A defect of scanside itself, or memory that ran out."""


def out_of_memory() -> InternalError:
    """Return what memory that ran out is called: neither an input's fault, nor a defect."""
    return InternalError(
        "there is not enough memory", remedy="free or add some, or raise the limit that was set"
    )


def worst_exit_code(*codes: int) -> int:
    """Return the exit code of a run in which several things happened.

    Parameters
    ----------
    *codes
        The exit codes that hold; 0 holds always.

    Returns
    -------
    int
        The first of 70, 9, 8, 4, 3, 7 that is among `codes`, else the largest.
    """
    for code in _PRECEDENCE:
        if code in codes:
            return code
    return max(codes, default=0)
