"""Short forms of the campaigns against a node in a process of its own."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

pytest.importorskip("pynetdicom", reason="needs the dicom extra")
pytest.importorskip("highdicom", reason="needs the dicom extra")
pytest.importorskip("prometheus_client", reason="needs the dicom extra")

from node.place import MADE_UP, NodeProcess, Orthanc
from node_hostile import hostile
from node_soak import Size, soak
from node_storm import dcmtk_storescu, storm

if TYPE_CHECKING:
    from pathlib import Path

# pynetdicom leaves a socket that could not connect to the garbage collector.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def test_nothing_is_lost_when_the_node_is_killed_and_the_pacs_is_away(tmp_path: Path) -> None:
    if Orthanc.program() is None:
        pytest.skip("Orthanc is not installed: apt-get install orthanc")
    if dcmtk_storescu() is None:
        pytest.skip("storescu is not installed: apt-get install dcmtk")
    found = storm(tmp_path, studies=4, slices=5, associations=2, kills=3, backend=MADE_UP, seed=1)
    assert (found["lost"], found["twice"], found["exit_code"]) == (0, 0, 0)
    assert found["status"]["idle"]
    assert found["studies"] == sum(found["status"]["results"].values()) == 4
    log = (tmp_path / "node" / "node.log").read_text()
    assert "PHANTOM" not in log


def test_hostile_connections_do_not_hurt_it(tmp_path: Path) -> None:
    found = hostile(tmp_path, connections=300, seed=2)
    assert found["passed"], found


def test_it_holds_still_and_loses_nothing(tmp_path: Path) -> None:
    if Orthanc.program() is None:
        pytest.skip("Orthanc is not installed: apt-get install orthanc")
    found = soak(tmp_path, Size(studies=4, slices=4, piece=3), backend=MADE_UP)
    assert found["objects"] == 4 * 3 * 4
    assert found["orthanc"] == {"CountStudies": 4, "CountInstances": 8}
    assert not np.isnan(found["answer_ms"]["p99"])
    assert found["exit_code"] == 0


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "scanside", "listen", *map(str, arguments)],
        check=False, capture_output=True, text=True,
    )  # fmt: skip


def test_the_command_checks_tells_and_ends(tmp_path: Path) -> None:
    node = NodeProcess(tmp_path, pacs=None, backend=MADE_UP)
    assert "is in order" in run("--config", node.config, "--check").stderr
    absent = run("status", "--config", node.config)
    assert (absent.returncode, "there is no spool" in absent.stderr) == (9, True)
    node.start()
    try:
        told = run("status", "--config", node.config)
        assert told.stdout.splitlines()[-1] == "idle: nothing is left to do"
        found = json.loads(run("status", "--config", node.config, "--format", "json").stdout)
        assert found["schema"] == "scanside.listen-status/1"
        second = run("--config", node.config, "--made-up-results")
        assert (second.returncode, "another node has this spool" in second.stderr) == (9, True)
        assert node.process is not None
        node.process.send_signal(signal.SIGTERM)
        assert node.process.wait(30) == 0
    finally:
        node.kill()
    assert run("retry", "--config", node.config).returncode == 0


_ENDED_AT_ONCE = """
import os, signal, sys
from scanside.cli.main import main
from scanside.listen.node import Node
class Signalled(Node):
    def __init__(self, *arguments):
        super().__init__(*arguments)
        os.kill(os.getpid(), signal.SIGTERM)
import scanside.listen.node
scanside.listen.node.Node = Signalled
sys.exit(main())
"""


def test_a_node_that_is_ended_when_its_port_has_just_opened_drains(tmp_path: Path) -> None:
    config = NodeProcess(tmp_path, pacs=None, backend=MADE_UP).config
    ended = subprocess.run(
        [sys.executable, "-c", _ENDED_AT_ONCE, "listen", "--config", config, "--made-up-results"],
        check=False, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert "node stops" in (tmp_path / "spool" / "audit.jsonl").read_text()


def test_a_configuration_that_is_wrong_is_a_usage_error(tmp_path: Path) -> None:
    file = tmp_path / "node.toml"
    file.write_text("[node]\nae_title = 3\n")
    found = run("--config", file)
    assert found.returncode == 2
    assert "$.node.ae_title" in found.stderr
    assert run().returncode == 2
