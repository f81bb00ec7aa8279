"""The thread that looks at studies: whose fault a failure is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

pytest.importorskip("prometheus_client", reason="needs the dicom extra")

from scanside.errors import InputError, OutputError
from scanside.listen.audit import Audit
from scanside.listen.metrics import Metrics
from scanside.listen.work import Analysis, NotYet, Worker
from spools import Place, result

if TYPE_CHECKING:
    from scanside.listen.studies import Claim


def worker(place: Place, found: Analysis | NotYet | Exception) -> Worker:
    def analyse(_: Claim) -> Analysis | NotYet:
        if isinstance(found, Exception):
            raise found
        return found

    return Worker(place.studies, analyse, Audit(place.folder), Metrics(), ())


def test_a_disk_that_fails_is_not_the_studys_failure(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.receive("1.2.1")
    place.clock.now += 11
    works = worker(place, Analysis("complete", tuple(result(1))))

    def full(*_: object) -> None:
        raise OutputError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("scanside.listen.studies.write_durably", full)
        for _ in range(6):  # more often than a study may fail
            with pytest.raises(OutputError):
                works.step()
            place.studies.put_back()
    assert place.store.read("SELECT state, failures FROM study") == [("receiving", 0)]
    assert works.step()
    assert place.store.read("SELECT state FROM study") == [("done",)]


def test_what_is_wrong_with_a_study_is_its_failure(place: Place) -> None:
    place.receive("1.2.1")
    place.clock.now += 11
    assert worker(place, InputError("different patients")).step()
    assert place.store.read("SELECT state, failures FROM study") == [("receiving", 1)]
