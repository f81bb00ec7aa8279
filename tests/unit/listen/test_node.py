from __future__ import annotations

import gc
import sys

import pytest

pytest.importorskip("pynetdicom", reason="needs the dicom extra")
pytest.importorskip("prometheus_client", reason="needs the dicom extra")

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
