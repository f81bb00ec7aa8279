"""A node whose disk, backend or port fails, and what it tells of itself."""

from __future__ import annotations

import socket
import threading
import urllib.request
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("pynetdicom", reason="needs the dicom extra")
pytest.importorskip("prometheus_client", reason="needs the dicom extra")

from nodes import (
    LEFT_SOCKETS,
    analysed,
    configuration,
    free_port,
    running,
    send,
    state,
    until,
)
from scanside.errors import BackendError, DeviceLostError, OutputError
from scanside.listen.config import parse_listen_config
from scanside.listen.node import Node
from scanside.listen.studies import Studies
from scanside.listen.work import NotYet

if TYPE_CHECKING:
    from pathlib import Path

    from scanside.listen.studies import Claim
    from scanside.listen.work import Analysis


pytestmark = LEFT_SOCKETS


def test_a_disk_without_room_for_the_log_changes_no_answer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    port = free_port()
    text = configuration(tmp_path / "s", port=port).replace(
        "min_free_gb = 0", "min_free_gb = 0\nmax_gb = 0.000000001"
    )
    with running(text):
        log = tmp_path / "s" / "audit.jsonl"
        log.unlink()
        log.symlink_to("/dev/full")
        assert send(port, 1) == [0xA700]
    assert "No space left on device: {" in capsys.readouterr().err


@pytest.mark.parametrize(("kind", "studies"), [(BackendError, 3), (DeviceLostError, 1)])
def test_a_backend_that_fails_again_and_again_ends_the_node_and_a_lost_device_at_once(
    kind: type[BackendError], studies: int, tmp_path: Path
) -> None:
    port = free_port()

    def analyse(_: Claim) -> Analysis:
        raise kind("the device is lost")

    node = Node(parse_listen_config(configuration(tmp_path / "s", port=port)), analyse)
    numbers = range(1, studies + 1)
    sender = threading.Timer(0.3, lambda: [send(port, 1, study=n) for n in numbers])
    sender.start()
    with pytest.raises(BackendError, match="device is lost"):
        node.run()
    sender.join()
    assert state(tmp_path / "s").studies["receiving"] == studies  # nothing is lost


def test_a_device_that_is_lost_ends_the_node_at_once(tmp_path: Path) -> None:
    port = free_port()

    def analyse(_: Claim) -> Analysis:
        raise DeviceLostError("the device is lost to this process")

    node = Node(parse_listen_config(configuration(tmp_path / "s", port=port)), analyse)
    sender = threading.Timer(0.3, lambda: send(port, 1))
    sender.start()
    with pytest.raises(DeviceLostError):
        node.run()
    sender.join()
    assert state(tmp_path / "s").studies["receiving"] == 1


def test_a_defect_in_one_study_is_told_without_its_values(tmp_path: Path) -> None:
    port = free_port()

    def analyse(claim: Claim) -> Analysis:
        raise ValueError(f"CANARY {claim.files}")

    with running(configuration(tmp_path / "s", port=port), analyse):
        send(port, 1)
        log = tmp_path / "s" / "audit.jsonl"
        until(lambda: "study failed" in log.read_text())
    assert "CANARY" not in log.read_text()
    assert "ValueError in" in log.read_text()


def test_a_disk_that_fails_for_a_while_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    monkeypatch.setattr("scanside.listen.node._DISK_PAUSE", 0.1)
    real, tried = Studies.wait, [0]

    def wait(studies: Studies, claim: Claim, reason: str) -> None:
        if tried[0] == 1:
            raise OutputError("database or disk is full")
        real(studies, claim, reason)

    def analyse(claim: Claim) -> Analysis | NotYet:
        tried[0] += 1
        if tried[0] == 1:
            return NotYet("not all of it is there")
        if tried[0] == 2:
            raise OutputError("no space left")
        return analysed(claim)

    monkeypatch.setattr(Studies, "wait", wait)
    with running(configuration(tmp_path / "s", port=port), analyse):
        send(port, 1)
        until(lambda: state(tmp_path / "s").studies["done"] == 1)
    audit = (tmp_path / "s" / "audit.jsonl").read_text()
    assert audit.count('"disk fails","thread":"work"') == 2
    assert "study failed" not in audit


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with (
            pytest.raises(OutputError, match=rf"127\.0\.0\.1:{port}: Address already in use"),
            running(configuration(tmp_path / "s", port=port)),
        ):
            pass


def test_the_endpoint_tells_the_state(tmp_path: Path) -> None:
    port, monitoring = free_port(), free_port()
    text = configuration(tmp_path / "s", port=port).replace("port = 0", f"port = {monitoring}")
    with running(text):
        send(port, 1, 2)
        until(lambda: state(tmp_path / "s").studies["done"] == 1)
        url = f"http://127.0.0.1:{monitoring}/metrics"
        page = urllib.request.urlopen(url, timeout=5).read().decode()
    assert 'scanside_objects_received_total{as_what="new"} 2.0' in page
    assert 'scanside_results_total{outcome="complete"} 1.0' in page
    assert "CANARY" not in page
