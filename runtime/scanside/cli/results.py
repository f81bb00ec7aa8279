"""What ``scanside run`` writes of DICOM and NIfTI studies, and the options for it."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

import click

from scanside.errors import UsageError
from scanside.release import release
from scanside.writers.dicom.context import Algorithm, Context
from scanside.writers.dicom.uids import check_root
from scanside.writers.studyfiles import (
    FORMS,
    Form,
    Written,
    check_forms,
    default_forms,
    require,
    write_study,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from scanside.bundle import Bundle
    from scanside.pipeline import Pipeline
    from scanside.readers.blobs import StudyFile
    from scanside.study.model import Findings, SourceKind
    from scanside.writers.files import OutputFolder

__all__ = ["ResultOptions", "StudyWriter", "expected_forms", "result_options"]

F = TypeVar("F", bound="Callable[..., Any]")


class ResultOptions(NamedTuple):
    """What is written of studies.

    Attributes
    ----------
    forms
        What was asked for; none writes the form of the input.
    uid_root
        The site's root for UIDs.
    created
        Content date and time of DICOM objects; none takes the input's.
    """

    forms: tuple[Form, ...] | None = None
    uid_root: str | None = None
    created: datetime | None = None


def _forms(_: click.Context, __: click.Parameter, value: str | None) -> tuple[Form, ...] | None:
    if value is None:
        return None
    asked = tuple(dict.fromkeys(value.split(",")))
    if not asked or set(asked) - set(FORMS):
        raise click.BadParameter(f"{value!r}; accepted: {', '.join(FORMS)}, with commas between")
    return cast("tuple[Form, ...]", asked)


def _root(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    if value is not None:
        try:
            check_root(value)
        except UsageError as error:
            raise click.BadParameter(str(error)) from None
    return value


def _moment(_: click.Context, __: click.Parameter, value: str | None) -> datetime | None:
    if value is None:
        return None
    if value == "now":
        return datetime.now()
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is not None:
        raise click.BadParameter(f"{value!r}; accepted: now, or local time as 2026-05-04T13:30:00")
    return moment


def result_options(command: F) -> F:
    """Add ``--write``, ``--uid-root`` and ``--created``."""
    for option in (
        click.option(
            "--created",
            callback=_moment,
            metavar="now|TIME",
            help="Content date and time of DICOM results.  [default: the latest of the input, so"
            " that the same input gives the same bytes]",
        ),
        click.option(
            "--uid-root",
            callback=_root,
            metavar="UID",
            help="Your site's root for UIDs of DICOM results.  [default: 2.25]",
        ),
        click.option(
            "--write",
            "forms",
            callback=_forms,
            metavar="FORM[,FORM...]",
            help="What --output gets of DICOM and NIfTI studies: dicom (report and segmentation),"
            " overlays (these and pictures), nifti (a mask).  [default: the form of the input]",
        ),
    ):
        command = option(command)
    return command


def expected_forms(options: ResultOptions, files: Iterable[StudyFile]) -> set[Form]:
    """Return what will be written of studies in these files, as far as the files alone tell."""
    if options.forms is not None:
        return set(options.forms)
    return {form for form in FORMS if any(file.kind.lower() == form for file in files)}


class StudyWriter:
    """Writes the results of a run's studies.

    Parameters
    ----------
    options
        What is written.
    output
        Where; none for nothing.
    kinds
        Of the studies that will come.
    settings
        Options of the run that change results, each as ``name=value``.

    Raises
    ------
    UsageError
        If a study of such a kind can't be written in a form that was asked for.
    ExtraNotInstalledError
        If something that is needed is not installed.
    """

    def __init__(
        self,
        options: ResultOptions,
        output: OutputFolder | None,
        kinds: Iterable[SourceKind],
        settings: Sequence[str],
    ) -> None:
        self._options = options
        self._output = output
        self._settings = tuple(settings)
        if output is None:
            return
        needed: set[Form] = set()
        for kind in set(kinds):
            forms = self._forms(kind)
            check_forms(forms, kind)
            needed.update(forms)
        require(needed)

    def write(self, findings: Findings, name: str, bundle: Bundle, pipeline: Pipeline) -> Written:
        """Write a study's results, under names that begin with `name`.

        Raises
        ------
        OutputError
            If a file can't be written.
        """
        if self._output is None:
            return Written((), ())
        context = Context(
            algorithm=Algorithm(
                bundle=bundle.manifest.name,
                bundle_version=bundle.manifest.version,
                bundle_sha256=bundle.manifest_sha256,
                software=release(),
                backend=pipeline.backend.name,
                precision=pipeline.backend.precision,
                options=self._settings,
            ),
            created=self._options.created,
            uid_root=self._options.uid_root,
        )
        return write_study(findings, context, self._output, name, self._forms(findings.study.kind))

    def _forms(self, kind: SourceKind) -> tuple[Form, ...]:
        asked = self._options.forms
        return default_forms(kind) if asked is None else asked
