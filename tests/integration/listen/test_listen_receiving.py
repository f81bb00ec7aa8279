"""A node on loopback, as a sender sees it: who may send what, and what is acknowledged."""

from __future__ import annotations

import json
import socket
import warnings
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("pynetdicom", reason="needs the dicom extra")
pytest.importorskip("prometheus_client", reason="needs the dicom extra")

from pydicom import dcmwrite
from pydicom.uid import SecondaryCaptureImageStorage

from mr import instance
from node.pdus import ACCEPT, association_request
from nodes import (
    LEFT_SOCKETS,
    Pacs,
    configuration,
    free_port,
    running,
    scanner,
    send,
    state,
    until,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pydicom import Dataset


pytestmark = LEFT_SOCKETS


def test_other_storage_classes_are_set_aside(tmp_path: Path) -> None:
    port = free_port()
    with running(configuration(tmp_path / "s", port=port)):
        capture = instance(1, 1)
        capture.SOPClassUID = SecondaryCaptureImageStorage
        capture.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
        association = scanner(port)
        assert association.send_c_store(capture).Status == 0
        association.release()
    found = state(tmp_path / "s")
    assert (found.instances, found.aside, found.studies["receiving"]) == (0, 1, 0)


@pytest.mark.parametrize(
    ("damage", "status"),
    [
        (lambda d: setattr(d, "SOPInstanceUID", "1.2.3"), 0xA900),
        (lambda d: delattr(d, "StudyInstanceUID"), 0xA900),
        (lambda d: setattr(d, "StudyInstanceUID", "../../etc/passwd"), 0xA900),
    ],
)
def test_an_object_that_is_not_what_it_says_is_refused(
    tmp_path: Path, damage: Callable[[Dataset], object], status: int
) -> None:
    port = free_port()
    dataset = instance(1, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom warns of the UID that is none
        damage(dataset)
        # The request says what the file meta information says, which is left as it was.
        file = tmp_path / "damaged.dcm"
        dataset.preamble = b"\0" * 128
        dcmwrite(file, dataset, enforce_file_format=False)
    with running(configuration(tmp_path / "s", port=port)):
        association = scanner(port)
        assert association.send_c_store(file).Status == status
        association.release()
    assert state(tmp_path / "s").instances == 0


def test_who_may_not_send_is_rejected(tmp_path: Path) -> None:
    port = free_port()
    text = configuration(tmp_path / "s", port=port)
    with running(text):
        assert scanner(port, title="OTHER").is_rejected
        assert scanner(port, called="OTHER").is_rejected
    elsewhere = text.replace("127.0.0.0/8", "10.0.0.0/8")
    with running(elsewhere):
        association = scanner(port)
        assert not association.is_established
        assert not association.is_rejected  # closed before a word was said


def comes_and_goes(port: int) -> bool:
    association = scanner(port)
    established = bool(association.is_established)
    if established:
        association.release()
    return established


def test_one_sender_does_not_shut_out_the_others(tmp_path: Path) -> None:
    port = free_port()
    more = '[[peers]]\nae_title = "SCANNER"\naddresses = ["127.0.0.2"]\n'
    text = configuration(
        tmp_path / "s", port=port, more="[limits]\nassociations_per_address = 2\n" + more
    )
    with running(text):
        first, second, third = scanner(port), scanner(port), scanner(port)
        assert (first.is_established, second.is_established) == (True, True)
        assert third.is_rejected
        other = scanner(port, bind_address=("127.0.0.2", 0))
        assert other.is_established
        for association in (first, second, other):
            association.release()
        until(lambda: comes_and_goes(port))


def test_a_full_spool_answers_out_of_resources_and_loses_nothing(tmp_path: Path) -> None:
    port = free_port()
    text = configuration(tmp_path / "s", port=port).replace(
        "min_free_gb = 0", "min_free_gb = 0\nmax_gb = 0.000003"
    )
    with running(text):
        answers = send(port, *range(1, 7))
    assert answers[0] == 0
    assert answers[-1] == 0xA700
    assert state(tmp_path / "s").instances == answers.count(0)


HOSTILE = {
    "a PDU of 4 GiB": b"\x04\x00\xff\xff\xff\xff" + b"x" * 100,
    "no PDU": b"GET / HTTP/1.1\r\n\r\n",
    "an empty request": b"\x01\x00\x00\x00\x00\x00",
    "half a request": b"\x01\x00\x00\x00\x01\x00" + b"\x00" * 20,
    "data without an association": b"\x04\x00\x00\x00\x00\x04\x00\x00\x00\x00",
    "nothing": b"",
}


def test_hostile_connections_end_and_disturb_nobody(tmp_path: Path) -> None:
    port = free_port()
    more = "[limits]\npdu_seconds = 1.0\nassociations = 20\nassociations_per_address = 20\n"
    with running(configuration(tmp_path / "s", port=port, more=more)) as node:
        good = scanner(port)
        bad = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in HOSTILE]
        for connection, content in zip(bad, HOSTILE.values(), strict=True):
            connection.sendall(content)
        for number in range(5):
            assert good.send_c_store(instance(1, number)).Status == 0
        for connection in bad:
            while connection.recv(4096):  # until the node closes it
                pass
            connection.close()
        good.release()
        until(lambda: node._receiver.connections == 0)
    assert state(tmp_path / "s").instances == 5


@pytest.mark.parametrize("kind", ["command", "data set"])
def test_a_message_without_end_is_ended(tmp_path: Path, kind: str) -> None:
    port = free_port()
    control = b"\x01" if kind == "command" else b"\x00"  # not the last fragment
    item = b"\x01" + control + bytes(100_000)
    pdu = b"\x04\x00" + (len(item) + 4).to_bytes(4, "big") + len(item).to_bytes(4, "big") + item
    more = "[limits]\nobject_mb = 1\n"
    with (
        running(configuration(tmp_path / "s", port=port, more=more)) as node,
        socket.create_connection(("127.0.0.1", port), timeout=10) as connection,
    ):
        connection.sendall(association_request())
        assert connection.recv(4096)[0] == ACCEPT
        with pytest.raises(OSError, match="reset|pipe"):
            connection.sendall(pdu * 100)
        until(lambda: node._receiver.connections == 0)


def test_no_patient_is_named_in_the_spools_own_files(tmp_path: Path, pacs: Pacs) -> None:
    port = free_port()
    with running(configuration(tmp_path / "s", port=port, pacs=pacs.port)):
        send(port, 1)
        until(lambda: len(pacs.received) == 1)
    for path in (tmp_path / "s").rglob("*"):
        assert "CANARY" not in path.name
        if path.is_file() and path.suffix != ".dcm":
            assert b"CANARY" not in path.read_bytes()
    lines = (tmp_path / "s" / "audit.jsonl").read_text().splitlines()
    assert {json.loads(line)["event"] for line in lines} >= {"study finished", "node stops"}


@pytest.mark.parametrize(
    "where", ["scanside.listen.arrival.read_dataset", "scanside.listen.spool.Spool.accept"]
)
def test_memory_that_ran_out_has_the_sender_try_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def greedy(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(where, greedy)
    port = free_port()
    with running(configuration(tmp_path / "s", port=port)):
        association = scanner(port)
        assert association.send_c_store(instance(1, 1)).Status == 0xA700
        association.release()
