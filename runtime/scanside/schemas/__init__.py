"""JSON Schemas of what scanside writes, for programs in any language: ``NAME.schema.json``.

They are generated from the structures that write the documents (``make schemas``), and a test
holds the files to them. Another package has the schemas of what it writes in its own ``schemas``,
with a table `DOCUMENTS` as here.

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

__all__ = ["DOCUMENTS", "Documents", "documents_of", "generate", "schema_file"]

Documents = dict[str, tuple[str, tuple[str, ...]]]

DOCUMENTS: Final[Documents] = {
    "bench": ("scanside.bench.schema", ("BenchResult",)),
    "bundle": ("scanside.contract", ("Manifest",)),
    "cache": ("scanside.cachefolder", ("EntrySidecar",)),
    "comparison": ("scanside.comparison.records", ("SlicePair", "ComparisonResult")),
    "doctor": ("scanside.doctor.findings", ("Report",)),
    "engine": ("scanside.engines", ("Sidecar",)),
    "hello": ("scanside.serve.described", ("Described",)),
    "listen-status": ("scanside.listen.status", ("SpoolStatus",)),
    "result": ("scanside.records", ("SliceResult", "StudyResult", "RunResult")),
    "split": ("scanside.evaluation.splits", ("Split",)),
    "verification": ("scanside.checks", ("Verification",)),
}
"""Documents, by name: the module and the structures that write them. A document is one of them;
where there are several, each line of a file is."""


def documents_of(package: str) -> Documents:
    """Return the documents that a package writes: the table in its ``schemas``."""
    documents: Documents = import_module(f"{package}.schemas").DOCUMENTS
    return documents


def schema_file(name: str, package: str = "scanside") -> Path:
    """Return where the schema of a package's document is shipped."""
    [folder] = import_module(f"{package}.schemas").__path__
    return Path(folder, f"{name}.schema.json")


def generate(name: str, package: str = "scanside") -> bytes:
    """Return the schema of a package's document, made anew.

    Parameters
    ----------
    name, package
        Which of the package's documents.
    """
    module, names = documents_of(package)[name]
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
