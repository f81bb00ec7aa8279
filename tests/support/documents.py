"""What scanside writes, held to the JSON Schemas that ship."""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING, Any

from scanside.schemas import DOCUMENTS, schema_file

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["check_documents", "found_in"]


@cache
def _validator(name: str) -> Any:
    jsonschema = __import__("jsonschema")
    schema = json.loads(schema_file(name).read_bytes())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def found_in(text: str) -> Iterator[dict[str, Any]]:
    """Each JSON document of scanside's in a text: the whole of it, or a line."""
    for piece in (text, *text.splitlines()):
        if not piece.lstrip().startswith("{"):
            continue
        try:
            document = json.loads(piece)
        except json.JSONDecodeError:
            continue
        if isinstance(document, dict) and str(document.get("schema", "")).startswith("scanside."):
            yield document


def check_documents(text: str) -> list[str]:
    """Hold every document in a text to its schema; return the names of those that have one."""
    names = []
    for document in found_in(text):
        name = document["schema"].removeprefix("scanside.").removesuffix("/1")
        if name in DOCUMENTS:
            _validator(name).validate(document)
            names.append(name)
    return names
