from __future__ import annotations

import gc
import sys
import threading

import pytest

pytest.importorskip("pynetdicom", reason="needs the dicom extra")
pytest.importorskip("prometheus_client", reason="needs the dicom extra")

from scanside.discretion import tell_discreetly
from scanside.listen.node import favour_answers


def test_answers_wait_less_for_other_threads_and_for_the_collector() -> None:
    before = sys.getswitchinterval()
    try:
        favour_answers()
        assert sys.getswitchinterval() < before
        assert gc.get_freeze_count() > 1000
    finally:
        sys.setswitchinterval(before)
        gc.unfreeze()


def test_a_thread_that_fails_is_told_without_what_it_received(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(threading, "excepthook", tell_discreetly)
    thread = threading.Thread(target=lambda: int("CANARY"))
    thread.start()
    thread.join()
    said = capsys.readouterr().err
    assert said.startswith("scanside: a thread ended: ValueError in test_node.py:")
    assert "CANARY" not in said
