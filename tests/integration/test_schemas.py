"""The JSON Schemas that ship are those of the code, and what is written keeps to them.

Beside these tests, everything that a command prints in any test is held to its schema
(`tests/support/command.py`).
"""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

import toy
from documents import check_documents, found_in
from scanside.schemas import DOCUMENTS, generate, schema_file
from scanside.serve.client import spawn
from scanside.writers.pictures import encode_png

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from command import Done

jsonschema = pytest.importorskip("jsonschema", reason="schemas are checked by jsonschema")


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_schema_that_ships_is_that_of_the_code(name: str) -> None:
    assert schema_file(name).read_bytes() == generate(name), "make schemas writes it anew"


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
    assert set(check_documents(scanside("info", toy_path, "--json").out)) == {"bundle"}
    assert set(check_documents(scanside("doctor", "--format", "json").out)) == {"doctor"}


def test_hello_keeps_to_its(toy_path: Path) -> None:
    with spawn("--bundle", str(toy_path), "--backend", "cpu", stderr=subprocess.DEVNULL) as client:
        assert set(check_documents(client.described.decode())) == {"hello"}


@pytest.mark.parametrize(
    "changed",
    [{"status": "fine"}, {"tumor": "no"}, {"type": "volume"}, {"index": "1"}, {"box": {"top": 1}},
     {"schema": "scanside.result/1", "source": None}],
)  # fmt: skip
def test_a_record_that_is_none_is_refused(changed: dict[str, Any]) -> None:
    record = {"schema": "scanside.result/1", "type": "slice", "source": "a.png", "index": 0,
              "status": "ok"}  # fmt: skip
    assert check_documents(json.dumps(record)) == ["result"] * 2  # as a whole, and as a line
    with pytest.raises(jsonschema.ValidationError):
        check_documents(json.dumps({**record, **changed}))
