"""A study's files to its encoded result: put together, analysed, encoded."""

from __future__ import annotations

import time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Final

from scanside.assembly.assemble import assemble
from scanside.assembly.choose import choose
from scanside.assembly.collect import collect
from scanside.assembly.rules import load_rules
from scanside.bundle import open_bundle
from scanside.errors import InputError, ParityError
from scanside.listen.madeup import MadeUpBackend, check_loopback
from scanside.listen.work import Analysis, NotYet
from scanside.pipeline import Pipeline
from scanside.readers.blobs import StudyFile
from scanside.studyrun import analyse_study
from scanside.verification import verify
from scanside.writers.dicom.context import Algorithm, Context
from scanside.writers.dicom.results import encode_results, encode_unanalysed

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from scanside.assembly.choose import Chosen
    from scanside.assembly.rules import Rules
    from scanside.bundle import Bundle
    from scanside.listen.config import ListenConfig, Models
    from scanside.listen.studies import Claim, Outcome
    from scanside.writers.dicom.results import Encoded

__all__ = ["Analyst"]

_OUTCOMES: Final[dict[str, Outcome]] = {
    "ok": "complete",
    "indeterminate": "indeterminate",
    "incomplete": "incomplete",
}


class Analyst:
    """Analyses the studies of a node with models that are loaded once.

    Parameters
    ----------
    bundle, pipeline
        The opened bundle and its loaded pipeline.
    rules
        Which series is which.
    fill
        Let FLAIR stand in for a missing sequence.
    overlays
        Make colour pictures too.
    """

    def __init__(
        self,
        bundle: Bundle,
        pipeline: Pipeline,
        rules: Rules,
        *,
        fill: bool = False,
        overlays: bool = False,
    ) -> None:
        self._pipeline: Final = pipeline
        self._rules: Final = rules
        self._fill: Final = fill
        self._overlays: Final = overlays
        backend = pipeline.backend
        self._algorithm: Final = Algorithm(
            bundle=bundle.manifest.name,
            bundle_version=bundle.manifest.version,
            bundle_sha256=bundle.manifest_sha256,
            software=version("scanside"),
            backend=backend.name,
            precision=backend.precision,
            options=(f"fill-missing={str(fill).lower()}",),
        )
        self.label: Final = f"{bundle.label} {backend.precision} on {backend.name}"

    @classmethod
    def open(cls, config: ListenConfig, *, made_up: bool = False) -> Analyst:
        """Load what the configuration names, and check it against its golden slices.

        Parameters
        ----------
        config
            The configuration.
        made_up
            Compute nothing: see `scanside.listen.madeup`.

        Raises
        ------
        BundleError, BackendError, UsageError
            If the bundle, the backend or the rules can't be used.
        ParityError
            If this device gives other outputs than the bundle recorded.
        """
        models, study = config.models, config.study
        rules = load_rules(None if study.series_rules is None else Path(study.series_rules))
        bundle = open_bundle(
            None if models.bundle is None else Path(models.bundle),
            manifest_sha256=models.bundle_sha256,
        )
        if made_up:
            check_loopback(config)
            precision = models.precision or bundle.manifest.default_precision
            pipeline = Pipeline(MadeUpBackend(precision), bundle.manifest.thresholds)
        else:
            pipeline = _verified(bundle, models)
        overlays = any("capture" in each.objects for each in config.destinations)
        return cls(bundle, pipeline, rules, fill=study.fill_missing, overlays=overlays)

    def __enter__(self) -> Analyst:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pipeline.close()

    def __call__(self, claim: Claim) -> Analysis | NotYet:
        """Analyse a study; see `scanside.listen.work.Analyse`."""
        started = time.perf_counter()
        chosen = _chosen(claim, self._rules, fill=self._fill)
        try:
            study = assemble(chosen)
        except InputError as error:
            if error.given.startswith("different patients"):
                raise  # a report would be filed under one of them
            if not claim.overdue:
                return NotYet(str(error))
            return self._unanalysed(claim, chosen, str(error))
        assembled = time.perf_counter()
        findings = analyse_study(study, self._pipeline)
        analysed = time.perf_counter()
        result = self._result(
            claim,
            _OUTCOMES[findings.status],
            lambda context: encode_results(findings, context, overlays=self._overlays),
        )
        return result._replace(
            seconds={
                "assemble": round(assembled - started, 3),
                "analyse": round(analysed - assembled, 3),
                "encode": round(time.perf_counter() - analysed, 3),
            }
        )

    def _unanalysed(self, claim: Claim, chosen: Chosen, reason: str) -> Analysis:
        datasets = [
            dataset
            for verdict in chosen.verdicts
            if not verdict.candidate.own
            for dataset in verdict.candidate.datasets()
        ]
        return self._result(
            claim, "incomplete", lambda context: encode_unanalysed(datasets, reason, context)
        )

    def _result(
        self, claim: Claim, outcome: Outcome, encode: Callable[[Context], Encoded]
    ) -> Analysis:
        """Encode a result that supersedes the current one, unless it is the current one."""
        made = encode(Context(self._algorithm, predecessors=claim.predecessors))
        if claim.current is not None and made.objects[0].reference != claim.current:
            made = encode(Context(self._algorithm, predecessors=(claim.current,)))
        return Analysis(outcome, made.objects)


def _verified(bundle: Bundle, models: Models) -> Pipeline:
    """Load the models, and check them against the golden slices.

    Raises
    ------
    ParityError
        If they give other outputs on this device.
    """
    pipeline = Pipeline.open(
        bundle, backend=models.backend, precision=models.precision, streaming=True
    )
    failed = [check for check in verify(bundle, pipeline) if not check.passed]
    if failed:
        pipeline.close()
        raise ParityError(
            f"{failed[0].name}: {failed[0].found}",
            accepted=failed[0].wanted,
            remedy="run scanside verify on this device",
        )
    return pipeline


def _chosen(claim: Claim, rules: Rules, *, fill: bool) -> Chosen:
    """Choose the series of a study.

    Raises
    ------
    InputError
        If none of its objects can be read: nobody knows whose report could say so.
    """
    found = collect([StudyFile(path, "DICOM") for path in claim.files])
    if not found.studies:
        raise InputError(f"no object can be read: {found.unreadable[0][1]}")
    (study,) = found.studies  # one StudyInstanceUID is one study
    return choose(study, rules, fill=fill)
