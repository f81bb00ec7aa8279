"""Indexing a dataset with progress on stderr: what several commands begin with."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from scanside.cli.progress import progress
from scanside.evaluation.dataset import index_dataset

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from scanside.evaluation.dataset import Dataset

__all__ = ["index"]


def index(folder: Path, *, keep_going: bool = False) -> Dataset:
    """Index a dataset as `scanside.evaluation.dataset.index_dataset` does, and show progress."""
    with ExitStack() as stack:
        update: Callable[[int], None] | None = None

        def tell(done: int, total: int) -> None:
            # How many there are is known once the folders have been listed.
            nonlocal update
            if update is None:
                update = stack.enter_context(progress(total, "slices read"))
            update(done)

        return index_dataset(folder, keep_going=keep_going, progress=tell)
