"""`scanside listen --check`: all that a start needs, tried without a start."""

from __future__ import annotations

import os
import re
import shutil
import socket
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("pynetdicom", reason="needs the dicom extra")
pytest.importorskip("prometheus_client", reason="needs the dicom extra")
pytest.importorskip("highdicom", reason="needs the dicom extra")

from nodes import LEFT_SOCKETS, configuration, free_port, running
from scanside.listen.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from command import Done

    Command = Callable[..., Done]

pytestmark = LEFT_SOCKETS


@pytest.fixture
def check(scanside: Command, tmp_path: Path, toy_path: Path) -> Command:
    """`scanside listen --check` of a configuration with the toy bundle."""

    def call(text: str = "", *, bundle: Path = toy_path, more: str = "backend = 'cpu'\n") -> Done:
        file = tmp_path / "node.toml"
        text = text or configuration(tmp_path / "spool", port=free_port())
        file.write_text(f'{text}[models]\nbundle = "{bundle}"\n{more}')
        return scanside("listen", "--config", file, "--check")

    return call


def test_a_node_that_would_start_is_in_order_and_nothing_is_left(
    check: Command, tmp_path: Path
) -> None:
    done = check()
    assert done.code == 0, done.err
    assert "is in order" in done.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["node.toml"]


def test_a_spool_that_is_there_is_tried_and_left_as_it_is(check: Command, tmp_path: Path) -> None:
    Store(tmp_path / "spool").close()
    before = {path.name: path.stat().st_size for path in (tmp_path / "spool").iterdir()}
    assert check().code == 0
    assert {path.name: path.stat().st_size for path in (tmp_path / "spool").iterdir()} == before
    (tmp_path / "spool").chmod(0o755)
    done = check()
    assert done.code == 9
    assert "mode 755" in done.err


def test_a_damaged_bundle_is_named(check: Command, toy_path: Path, tmp_path: Path) -> None:
    bundle = shutil.copytree(toy_path, tmp_path / "bundle")
    model = next(bundle.glob("classifier.*.onnx"))
    model.write_bytes(model.read_bytes()[:-1] + b"?")
    done = check(bundle=bundle)
    assert done.code == 4
    assert model.name in done.err


def test_a_backend_that_cannot_be_used_is_named(check: Command) -> None:
    done = check(more='backend = "tensorrt"\n')
    assert done.code == 8
    assert "tensorrt" in done.err


@pytest.mark.parametrize("key", ["node", "monitoring"])
def test_a_port_in_use_is_named(check: Command, tmp_path: Path, key: str) -> None:
    text = configuration(tmp_path / "spool", port=free_port())
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        head, _, tail = text.partition(f"[{key}]")
        done = check(f"{head}[{key}]{re.sub('port = [0-9]+', f'port = {taken}', tail, count=1)}")
    assert done.code == 9
    assert f"127.0.0.1:{taken}: Address already in use" in done.err
    assert f"{key}.port" in done.err


def test_an_address_of_another_computer_is_named(check: Command, tmp_path: Path) -> None:
    text = configuration(tmp_path / "spool", port=11112)
    done = check(text.replace("port = 11112", 'address = "192.0.2.1"\nport = 11112', 1))
    assert done.code == 9
    assert "192.0.2.1:11112: Cannot assign" in done.err


def test_one_port_for_two_things_is_named(check: Command, tmp_path: Path) -> None:
    port = free_port()
    text = configuration(tmp_path / "spool", port=port)
    done = check(text.replace("[monitoring]\nport = 0", f"[monitoring]\nport = {port}"))
    assert done.code == 9
    assert "monitoring.port" in done.err


def test_beside_the_running_node_spool_and_port_are_taken(check: Command, tmp_path: Path) -> None:
    text = configuration(tmp_path / "spool", port=free_port())
    with running(text):
        done = check(text)
    assert done.code == 9
    assert "another node has this spool" in done.err
    assert "Address already in use" in done.err


def test_everything_wrong_is_told_at_once(check: Command, tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("a file")
    for name in ("c", "k", "a"):
        (tmp_path / name).write_text("no PEM")
    tls = "\n".join(f'{key} = "{key[0]}"' for key in ("certificate", "key", "authorities"))
    text = configuration(tmp_path / "spool", port=free_port(), pacs=104)
    text = text.replace("[spool]", f"[destinations.tls]\n{tls}\n[spool]")
    done = check(text, bundle=tmp_path / "absent")
    assert done.code == 9
    assert [part in done.err for part in ("absent", "TLS with", "spool")] == [True] * 3
    assert done.err.count("scanside: error: ") == 3


@pytest.mark.skipif(not os.path.exists("/proc/1"), reason="needs /proc")  # noqa: PTH110
def test_a_folder_that_cannot_be_written_is_named(check: Command) -> None:
    done = check(configuration("/proc/scanside/spool", port=free_port()))
    assert done.code == 9
    assert "/proc" in done.err
    assert "spool.folder" in done.err
