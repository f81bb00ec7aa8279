"""Mutual TLS in both directions."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("pynetdicom", reason="needs the dicom extra")
pytest.importorskip("prometheus_client", reason="needs the dicom extra")

from nodes import (
    LEFT_SOCKETS,
    Pacs,
    configuration,
    free_port,
    running,
    scanner,
    send,
    tried,
    until,
)

if TYPE_CHECKING:
    from pathlib import Path


pytestmark = LEFT_SOCKETS


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
