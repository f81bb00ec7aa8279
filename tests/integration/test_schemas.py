"""The JSON Schemas that ship are those of the code, and what is written keeps to them.

Beside these tests, all JSON of scanside's that a command or a child process prints in any test, or
moves into its place, is held to its schema (`tests/support/documents.py`).
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

import toy
from documents import PACKAGES, check_documents, found_in
from scanside.schemas import documents_of, generate, schema_file
from scanside.serve.client import spawn
from scanside.writers.pictures import encode_png

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from command import Done

jsonschema = pytest.importorskip("jsonschema", reason="schemas are checked by jsonschema")


@pytest.mark.parametrize(
    ("package", "name"),
    [
        pytest.param(package, name, marks=[pytest.mark.tf] * (package == "scanside_training"))
        for package in PACKAGES
        for name in documents_of(package)
    ],
)
def test_the_schema_that_ships_is_that_of_the_code(package: str, name: str) -> None:
    if package != "scanside":
        pytest.importorskip(documents_of(package)[name][0], reason="an extra is not installed")
    shipped = schema_file(name, package).read_bytes()
    assert shipped == generate(name, package), "make schemas writes it anew"


def test_a_run_keeps_to_its_schema(
    scanside: Callable[..., Done], toy_path: Path, tmp_path: Path
) -> None:
    slices = tmp_path / "slices"
    slices.mkdir()
    for n in range(4):
        (slices / f"{n}.png").write_bytes(encode_png(toy.lesion_slice(n, lesion=n % 2 == 0)))
    (slices / "4.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    output = tmp_path / "output"
    options = ("--bundle", toy_path, "--backend", "cpu", "--spacing", "1,1,5")
    done = scanside("run", slices, *options, "--output", output, "--format", "jsonl")
    assert done.code == 3
    written = (output / "results.jsonl").read_text(encoding="utf-8")
    assert check_documents(written) == check_documents(done.out) == ["result"] * 7
    assert {record["type"] for record in found_in(written)} == {"slice", "study", "run"}


def test_documents_of_other_commands_keep_to_theirs(
    scanside: Callable[..., Done], toy_path: Path
) -> None:
    assert check_documents(scanside("info", toy_path, "--json").out) == ["bundle"]
    assert check_documents(scanside("doctor", "--format", "json").out) == ["doctor"]
    verified = scanside("verify", toy_path, "--backend", "cpu", "--json").out
    assert check_documents(verified) == ["verification"]


def test_what_a_child_prints_and_what_is_moved_into_place_is_held_to_them(tmp_path: Path) -> None:
    wrong = json.dumps({"schema": "scanside.split/1", "seed": 1})
    with pytest.raises(jsonschema.ValidationError):
        subprocess.run([sys.executable, "-c", f"print({wrong!r})"], stdout=-1, check=False)
    (part := tmp_path / ".part").write_text(wrong)
    with pytest.raises(jsonschema.ValidationError):
        part.replace(tmp_path / "split.json")


def test_hello_keeps_to_its(toy_path: Path) -> None:
    with spawn("--bundle", str(toy_path), "--backend", "cpu", stderr=subprocess.DEVNULL) as client:
        assert check_documents(client.described.decode()) == ["hello"]


@pytest.mark.parametrize(
    "changed",
    [{"status": "fine"}, {"tumor": "no"}, {"type": "volume"}, {"index": "1"}, {"box": {"top": 1}},
     {"schema": "scanside.result/1", "source": None}],
)  # fmt: skip
def test_a_record_that_is_none_is_refused(changed: dict[str, Any]) -> None:
    record = {"schema": "scanside.result/1", "type": "slice", "source": "a.png", "index": 0,
              "status": "ok"}  # fmt: skip
    assert check_documents(json.dumps(record)) == ["result"]
    with pytest.raises(jsonschema.ValidationError):
        check_documents(json.dumps({**record, **changed}))
