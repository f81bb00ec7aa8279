"""JSON Schemas of what scanside writes, for programs in any language: ``NAME.schema.json``.

They are generated from the structures that write the documents (``make schemas``), and a test
holds the files to them.

References
----------
https://json-schema.org/draft/2020-12
"""

from __future__ import annotations

import inspect
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import msgspec

__all__ = ["DOCUMENTS", "generate", "schema_file"]

DOCUMENTS: Final = {
    "bench": ("scanside.bench.schema", ("BenchResult",)),
    "bundle": ("scanside.contract", ("Manifest",)),
    "comparison": ("scanside.comparison.records", ("SlicePair", "ComparisonResult")),
    "doctor": ("scanside.doctor.findings", ("Report",)),
    "hello": ("scanside.serve.described", ("Described",)),
    "result": ("scanside.records", ("SliceResult", "StudyResult", "RunResult")),
}
"""Documents, by name: the module and the structures that write them. A document is one of them;
where there are several, each line of a file is."""


def schema_file(name: str) -> Path:
    """Return where a document's schema is shipped."""
    return Path(__file__).with_name(f"{name}.schema.json")


def generate(name: str) -> bytes:
    """Return a document's schema, made anew.

    Parameters
    ----------
    name
        One of `DOCUMENTS`.
    """
    module, names = DOCUMENTS[name]
    kinds = [getattr(import_module(module), kind) for kind in names]
    (*schemas,), components = msgspec.json.schema_components(kinds, ref_template="#/$defs/{name}")
    whole = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **(schemas[0] if len(schemas) == 1 else {"oneOf": schemas}),
        "$defs": components,
    }
    return msgspec.json.format(msgspec.json.encode(_tidy(whole)), indent=2) + b"\n"


def _tidy(value: Any) -> Any:  # noqa: ANN401 - JSON
    """Take out the source's indentation of descriptions, and how a bound happens to be written.

    `typing` keeps one of ``Annotated[float, Meta(gt=0)]`` and ``Meta(gt=0.0)``, which are equal:
    the one that was imported first.
    """
    if isinstance(value, dict):
        return {
            key: inspect.cleandoc(held) if key == "description" and isinstance(held, str)
            else _tidy(held)
            for key, held in value.items()
        }  # fmt: skip
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return [_tidy(each) for each in value] if isinstance(value, list) else value
