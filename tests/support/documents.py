"""What scanside writes, held to the JSON Schemas that ship."""

from __future__ import annotations

import json
import subprocess
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from scanside.schemas import documents_of, schema_file

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["PACKAGES", "check_documents", "everything_checked", "found_in"]

PACKAGES = ("scanside", "scanside_training", "scanside_export", "scanside_calibration")


@cache
def _validator(name: str) -> Any:
    jsonschema = __import__("jsonschema")
    [package] = [package for package in PACKAGES if name in documents_of(package)]
    schema = json.loads(schema_file(name, package).read_bytes())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def found_in(text: str) -> Iterator[dict[str, Any]]:
    """Each JSON document of scanside's in a text: the whole of it, or its lines."""
    if not text.lstrip().startswith("{"):
        return
    whole = _parsed(text)
    for piece in map(_parsed, text.splitlines()) if whole is None else (whole,):
        if isinstance(piece, dict) and str(piece.get("schema", "")).startswith("scanside."):
            yield piece


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return None


def check_documents(text: str) -> list[str]:
    """Hold every document in a text to its schema; return the names of the schemas."""
    names = []
    for document in found_in(text):
        name = document["schema"].removeprefix("scanside.").removesuffix("/1")
        _validator(name).validate(document)
        names.append(name)
    return names


@contextmanager
def everything_checked() -> Iterator[None]:
    """Hold what child processes print, and JSON that is moved into its place, to the schemas."""
    communicate, replace = subprocess.Popen.communicate, Path.replace

    def communicate_checked(self: Any, *words: Any, **more: Any) -> Any:
        out, err = communicate(self, *words, **more)
        if out:
            check_documents(out if isinstance(out, str) else out.decode(errors="replace"))
        return out, err

    def replace_checked(self: Path, target: Path) -> Path:
        if Path(target).suffix in (".json", ".jsonl"):
            check_documents(self.read_text(encoding="utf-8"))
        return replace(self, target)

    with (
        patch.object(subprocess.Popen, "communicate", communicate_checked),
        patch.object(Path, "replace", replace_checked),
    ):
        yield
