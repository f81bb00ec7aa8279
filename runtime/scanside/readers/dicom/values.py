"""Values of a dataset as plain Python, absent where they are absent or make no sense."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydicom import Dataset

__all__ = ["has_value", "integer", "item", "number", "numbers", "text", "texts"]


def has_value(dataset: Dataset | None, keyword: str) -> bool:
    """Tell whether an element is there and not empty, whatever its value is."""
    return bool(_values(dataset, keyword))


def texts(dataset: Dataset | None, keyword: str) -> tuple[str, ...]:
    """Return the values of an element as text, without padding."""
    return tuple(str(value).strip("\0 ") for value in _values(dataset, keyword))


def text(dataset: Dataset | None, keyword: str) -> str:
    """Return the first value as text; empty where there is none."""
    return next(iter(texts(dataset, keyword)), "")


def numbers(dataset: Dataset | None, keyword: str, count: int) -> tuple[float, ...] | None:
    """Return `count` finite numbers; none where there are not as many."""
    values = _values(dataset, keyword)
    try:
        found = tuple(float(value) for value in values)
    except (TypeError, ValueError):
        return None
    return found if len(found) == count and all(map(math.isfinite, found)) else None


def number(dataset: Dataset | None, keyword: str) -> float | None:
    """Return the first value as a finite number."""
    values = _values(dataset, keyword)
    try:
        value = float(values[0]) if values else math.nan
    except (TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None


def integer(dataset: Dataset | None, keyword: str) -> int | None:
    """Return the first value as a whole number."""
    value = number(dataset, keyword)
    return int(value) if value is not None and value.is_integer() else None


def item(dataset: Dataset | None, *keywords: str) -> Dataset | None:
    """Return the first item of a sequence, or of the sequence in it, and so on."""
    for keyword in keywords:
        sequence = None if dataset is None else dataset.get(keyword)
        if not sequence or isinstance(sequence, str | bytes):
            return None
        dataset = sequence[0]
    return dataset


def _values(dataset: Dataset | None, keyword: str) -> Sequence[Any]:
    value = None if dataset is None else dataset.get(keyword)
    if value is None or (isinstance(value, str | bytes) and not value):
        return ()
    if isinstance(value, str | bytes | int | float):
        return (value,)
    try:
        return tuple(value)
    except TypeError:  # a single value of a class of pydicom's own
        return (value,)
