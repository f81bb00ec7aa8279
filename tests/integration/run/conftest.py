"""What the tests of `scanside run` start from."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from slicefiles import two_studies

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two studies of three slices each, a lesion in every second slice, one mask file."""
    return two_studies(tmp_path / "in")


@pytest.fixture
def as_nobody() -> Iterator[None]:
    """Permissions do not hold for root: be somebody else for the test."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    yield
    os.seteuid(0)
