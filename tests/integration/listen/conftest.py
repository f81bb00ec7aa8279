"""What the tests of a node start from."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nodes import Pacs


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    yield
    gc.collect()


@pytest.fixture
def pacs() -> Iterator[Pacs]:
    from nodes import Pacs

    made = Pacs()
    yield made
    made.close()
