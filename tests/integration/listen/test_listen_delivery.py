"""A node on loopback, as a destination sees it: results byte for byte, until they are accepted."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("pynetdicom", reason="needs the dicom extra")
pytest.importorskip("prometheus_client", reason="needs the dicom extra")

from pynetdicom.dimse import DIMSEServiceProvider

from nodes import (
    LEFT_SOCKETS,
    NODE,
    Pacs,
    analysed,
    configuration,
    free_port,
    running,
    send,
    state,
    tried,
    until,
)
from scanside.listen.work import Analysis, NotYet

if TYPE_CHECKING:
    from pathlib import Path

    from scanside.listen.studies import Claim

pytestmark = LEFT_SOCKETS


def test_a_study_comes_and_its_result_goes(tmp_path: Path, pacs: Pacs) -> None:
    port = free_port()
    with running(configuration(tmp_path / "s", port=port, pacs=pacs.port)):
        assert send(port, 1, 2, 3) == [0, 0, 0]
        assert send(port, 1, 2, 3) == [0, 0, 0]  # a scanner's resend loop
        until(lambda: len(pacs.received) == 1)
        assert send(port, 2) == [0]
        time.sleep(1)
        assert len(pacs.received) == 1  # nothing is said twice
        assert send(port, 4) == [0]
        until(lambda: len(pacs.received) == 2)
        until(lambda: state(tmp_path / "s").idle)
    found = state(tmp_path / "s")
    assert (found.results, found.superseded, found.instances) == ({"complete": 1}, 1, 4)


def test_results_are_sent_byte_for_byte(tmp_path: Path, pacs: Pacs) -> None:
    port = free_port()
    made: list[bytes] = []

    def analyse(claim: Claim) -> Analysis:
        found = analysed(claim)
        made.append(found.objects[0].content)
        return found

    with running(configuration(tmp_path / "s", port=port, pacs=pacs.port), analyse):
        send(port, 1)
        until(lambda: len(pacs.received) == 1)
    assert made[0].endswith(pacs.received[0][1])


def test_nobody_but_the_sender_takes_answers_of_a_destination(
    tmp_path: Path, pacs: Pacs, monkeypatch: pytest.MonkeyPatch
) -> None:
    port, taken = free_port(), list[str]()
    real = DIMSEServiceProvider.get_msg

    def get_msg(self: DIMSEServiceProvider, *, block: bool) -> Any:
        if self.assoc.is_requestor and self.assoc.is_established and self.assoc.ae.ae_title == NODE:
            taken.append("sender" if block else "reactor")
        return real(self, block=block)

    monkeypatch.setattr(DIMSEServiceProvider, "get_msg", get_msg)
    with running(configuration(tmp_path / "s", port=port, pacs=pacs.port)):
        for study in range(3):
            send(port, 1, study=study)
        until(lambda: len(pacs.received) == 3)
    assert taken == ["sender"] * 3
    until(lambda: not any("Requestor" in each.name for each in threading.enumerate()))


def test_an_incomplete_study_waits_and_then_says_so(tmp_path: Path, pacs: Pacs) -> None:
    port = free_port()
    seen: list[bool] = []

    def analyse(claim: Claim) -> Analysis | NotYet:
        seen.append(claim.overdue)
        if not claim.overdue:
            return NotYet("no post-contrast series")
        return Analysis("incomplete", analysed(claim).objects)

    text = configuration(tmp_path / "s", port=port, pacs=pacs.port).replace(
        "deadline_seconds = 60", "deadline_seconds = 2"
    )
    with running(text, analyse):
        send(port, 1)
        until(lambda: len(pacs.received) == 1)
    assert seen == [False, True]
    assert state(tmp_path / "s").results == {"incomplete": 1}


def test_a_destination_that_is_down_or_full_gets_everything_once_it_is_back(
    tmp_path: Path,
) -> None:
    port, away = free_port(), free_port()
    with running(configuration(tmp_path / "s", port=port, pacs=away)):
        send(port, 1)
        until(lambda: tried(tmp_path / "s").reason == "not reachable")
    pacs = Pacs(lambda asked: 0xA700 if asked < 3 else 0)
    try:
        with running(configuration(tmp_path / "s", port=port, pacs=pacs.port)):
            until(lambda: len(pacs.received) == 1)
    finally:
        pacs.close()


def test_an_object_that_breaks_the_association_lets_the_others_pass_and_is_dead(
    tmp_path: Path,
) -> None:
    port = free_port()
    pacs = Pacs(breaks=1)
    text = configuration(tmp_path / "s", port=port, pacs=pacs.port).replace(
        "first_seconds = 0.1", "first_seconds = 0.1\nattempts = 3"
    )
    try:
        with running(text):
            for study in (1, 2):
                send(port, 1, study=study)
                until(lambda: state(tmp_path / "s").studies["done"] == study)  # noqa: B023
            until(lambda: tried(tmp_path / "s").dead == 1)
            until(lambda: len(pacs.received) == 1)
        until(lambda: not any("Requestor" in each.name for each in threading.enumerate()))
    finally:
        pacs.close()
    assert tried(tmp_path / "s").reason == "the association broke"


def test_a_destination_whose_name_has_no_address_is_tried_again(tmp_path: Path) -> None:
    port = free_port()
    text = configuration(tmp_path / "s", port=port, pacs=free_port()).replace(
        'address = "127.0.0.1"', 'address = "pacs.invalid"'
    )
    with running(text):
        send(port, 1)
        until(lambda: tried(tmp_path / "s").reason == "no address is known for its name")
        assert send(port, 2) == [0]


def test_what_a_destination_refuses_is_dead_and_shown(tmp_path: Path) -> None:
    pacs, port = Pacs(lambda _: 0xC000), free_port()
    text = configuration(tmp_path / "s", port=port, pacs=pacs.port).replace(
        "first_seconds = 0.1", "first_seconds = 0.1\nattempts = 3"
    )
    try:
        with running(text):
            send(port, 1)
            until(lambda: tried(tmp_path / "s").dead == 1)
    finally:
        pacs.close()
    assert tried(tmp_path / "s").reason == "status C000"
