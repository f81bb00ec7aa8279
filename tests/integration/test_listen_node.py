"""A node on loopback: what a sender and a destination see of it."""

from __future__ import annotations

import gc
import json
import shutil
import socket
import ssl
import subprocess
import threading
import time
import urllib.request
import warnings
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("pynetdicom", reason="needs the dicom extra")
pytest.importorskip("prometheus_client", reason="needs the dicom extra")

from pydicom import dcmwrite
from pydicom.uid import SecondaryCaptureImageStorage
from pynetdicom.dimse import DIMSEServiceProvider

from mr import instance
from node.pdus import ACCEPT, association_request
from nodes import Pacs, analysed, configuration, free_port, running, scanner, until
from scanside.errors import BackendError, DeviceLostError, OutputError
from scanside.listen.config import parse_listen_config
from scanside.listen.node import Node
from scanside.listen.status import read_status
from scanside.listen.store import read_only
from scanside.listen.studies import Studies
from scanside.listen.work import Analysis, NotYet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pydicom import Dataset

    from scanside.listen.status import DestinationStatus, SpoolStatus
    from scanside.listen.studies import Claim

NODE = "SCANSIDE"

# pynetdicom leaves a socket that could not connect to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    yield
    gc.collect()


@pytest.fixture
def pacs() -> Iterator[Pacs]:
    made = Pacs()
    yield made
    made.close()


def state(folder: Path) -> SpoolStatus:
    connection = read_only(folder)
    try:
        return read_status(lambda query: connection.execute(query).fetchall())
    finally:
        connection.close()


def tried(folder: Path) -> DestinationStatus:
    until(lambda: "pacs" in state(folder).destinations)
    return state(folder).destinations["pacs"]


def send(port: int, *numbers: int, study: int = 1, seed: int = 0) -> list[int]:
    association = scanner(port)
    assert association.is_established
    answers = [int(association.send_c_store(instance(study, n, seed=seed)).Status) for n in numbers]
    association.release()
    return answers


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
    real, asked = Studies.fail, list[str]()

    def fail(studies: Studies, claim: Claim, reason: str) -> bool:
        asked.append(reason)
        if len(asked) == 1:
            raise OutputError("database or disk is full")
        return real(studies, claim, reason)

    def analyse(claim: Claim) -> Analysis:
        if not asked:
            raise OutputError("no space left")
        return analysed(claim)

    monkeypatch.setattr(Studies, "fail", fail)
    with running(configuration(tmp_path / "s", port=port), analyse):
        send(port, 1)
        until(lambda: state(tmp_path / "s").studies["done"] == 1)
    assert '"disk fails","thread":"work"' in (tmp_path / "s" / "audit.jsonl").read_text()


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


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("tls")
    for name in ("node", "other"):
        subprocess.run(
            [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
             "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.pem", "-days", "2",
             "-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1"],
            cwd=folder, check=True, capture_output=True,
        )  # fmt: skip
    return folder


def test_with_tls_only_those_with_a_certificate_get_in(tmp_path: Path, certificates: Path) -> None:
    port = free_port()
    tls = (
        f'[node.tls]\ncertificate = "{certificates}/node.pem"\nkey = "{certificates}/node.key"\n'
        f'authorities = "{certificates}/node.pem"\n'
    )

    def context(name: str | None) -> ssl.SSLContext:
        made = ssl.create_default_context(cafile=certificates / "node.pem")
        if name is not None:
            made.load_cert_chain(certificates / f"{name}.pem", certificates / f"{name}.key")
        return made

    with running(configuration(tmp_path / "s", port=port, more=tls)):
        known = scanner(port, tls_args=(context("node"), "127.0.0.1"))
        assert known.is_established
        assert known.send_c_echo().Status == 0
        for name in ("other", None):
            assert not scanner(port, tls_args=(context(name), "127.0.0.1")).is_established
        assert not scanner(port).is_established
        known.release()


@pytest.mark.parametrize(("name", "reason"), [("node", None), ("other", "not reachable")])
def test_with_tls_results_go_to_who_has_a_certificate(
    tmp_path: Path, certificates: Path, name: str, reason: str | None
) -> None:
    port = free_port()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=certificates / "node.pem")
    context.verify_mode = ssl.CERT_REQUIRED  # in both directions
    context.load_cert_chain(certificates / f"{name}.pem", certificates / f"{name}.key")
    tls = (
        f'[destinations.tls]\ncertificate = "{certificates}/node.pem"\n'
        f'key = "{certificates}/node.key"\nauthorities = "{certificates}/node.pem"\n'
    )
    pacs = Pacs(tls=context)
    text = configuration(tmp_path / "s", port=port, pacs=pacs.port, more=tls)
    try:
        with running(text):
            send(port, 1)
            until(lambda: tried(tmp_path / "s").reason == reason)
            until(lambda: len(pacs.received) == (reason is None))
    finally:
        pacs.close()


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
