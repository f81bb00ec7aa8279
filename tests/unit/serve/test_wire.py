"""The protocol's bytes: what the document says, and what decodes."""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from scanside.serve import wire
from scanside.serve.codes import Cause, Dtype, HelloFlag, InferFlag, Kind, MaskForm, ResultFlag
from scanside.serve.masks import decode_runs, encode_runs, mask_offset
from scanside.serve.wire import BODIES

DOCUMENT = (Path(__file__).parents[3] / "docs" / "protocol.md").read_text(encoding="utf-8")
TYPES = {"B": ("u8", 1), "H": ("u16", 2), "I": ("u32", 4), "Q": ("u64", 8), "d": ("f64", 8)}


def _fields(body: wire.Body[Any]) -> list[tuple[int, int, str, str]]:
    """Offset, size, type and name of each field, from the layout."""
    names, rows, offset = list(body.made._fields), [], 0
    for count, code in re.findall(r"(\d*)([a-zA-Z])", body.layout.format.lstrip("<")):
        number = int(count or 1)
        if code == "x":
            offset += number
        elif code == "s":
            rows.append((offset, number, f"char[{number}]", names.pop(0)))
            offset += number
        else:
            kind, size = TYPES[code]
            for _ in range(number):
                rows.append((offset, size, kind, names.pop(0)))
                offset += size
    assert not names
    return rows


def _documented(section: str) -> list[list[tuple[int, int, str, str]]]:
    """The same from each table of a section of the document; reserved bytes left out."""
    text = DOCUMENT.split(f"\n## {section}", 1)[1].split("\n## ", 1)[0]
    tables: list[list[tuple[int, int, str, str]]] = []
    for line in text.splitlines():
        if line.startswith("| offset |"):
            tables.append([])
        if found := re.match(r"\| (\d+) \| (\d+) \| ([\w\[\]]+) \| `(\w+)` \|", line):
            offset, size, kind, name = found.groups()
            tables[-1].append((int(offset), int(size), kind.replace("u8[", "char["), name))
    return tables


@pytest.mark.parametrize(
    ("section", "bodies"),
    [
        ("HELLO", [BODIES.client_hello, BODIES.server_hello]),
        ("INFER", [BODIES.infer]),
        ("RESULT", [BODIES.result]),
        ("ERROR", [BODIES.error]),
        ("STATS", [BODIES.stats]),
        ("DRAIN", [BODIES.drain]),
        ("ATTACH", [BODIES.attach]),
    ],
)
def test_the_document_has_every_field_where_it_is(
    section: str, bodies: list[wire.Body[Any]]
) -> None:
    assert _documented(section) == [_fields(body) for body in bodies]
    text = DOCUMENT.split(f"\n## {section}", 1)[1].split("\n## ", 1)[0]
    for body in bodies:
        assert re.search(rf"\b{body.size} bytes", text), body.name


def test_the_document_has_every_number() -> None:
    assert [row[0] for row in _documented("Message")[0]] == [0, 4, 6, 8, 16]
    assert wire.HEADER_BYTES == 24
    rows = set(re.findall(r"^\| (\d+) \| ([A-Z][A-Z0-9_-]+) \|", DOCUMENT, re.MULTILINE))
    flags = [
        *(flag for flag in HelloFlag),
        *(flag for flag in ResultFlag),
    ]
    wanted = {(str(kind.value), kind.name.replace("_", "-")) for kind in Kind}
    wanted |= {(str(cause.value), cause.name) for cause in Cause}
    wanted |= {(str(flag.value.bit_length() - 1), str(flag.name)) for flag in flags}
    assert rows == wanted


def _examples() -> list[bytes]:
    text = DOCUMENT.split("## A worked example", 1)[1]
    blocks = re.findall(r"```\n(.*?)```", text, re.DOTALL)
    return [
        bytes.fromhex("".join(line.split("  ", 1)[1] for line in block.splitlines()))
        for block in blocks
    ]


def test_the_worked_example_is_what_is_encoded() -> None:
    hello, infer, result, error = _examples()
    body = BODIES.client_hello.encode(wire.ClientHello(1, 0, HelloFlag.ORDERED))
    assert hello == wire.encode(Kind.HELLO, 1, body, 7) + b"console"

    asked = wire.Infer(
        height=256, width=192, channels=3, dtype=Dtype.U16,
        flags=InferFlag.WINDOW | InferFlag.SPACING | InferFlag.SLOT, mask_form=MaskForm.BYTES,
        slot=2, window_low=100, window_high=1500, spacing_row=0.9375, spacing_column=0.9375,
        deadline_ms=50,
    )  # fmt: skip
    assert infer == wire.encode(Kind.INFER, 7, BODIES.infer.encode(asked))

    found = BODIES.result.decode(result[wire.HEADER_BYTES :])
    assert (found.tumor_probability, found.area_px, found.area_mm2) == (0.875, 1024, 900.0)
    assert found.mask_offset == mask_offset(256 * 192 * 3 * 2) == 294_912
    assert (found.box_top, found.box_left, found.box_bottom, found.box_right) == (96, 64, 128, 96)
    assert result == wire.encode(Kind.RESULT, 7, BODIES.result.encode(found))

    header = wire.decode_header(error[: wire.HEADER_BYTES])
    assert header == (Kind.ERROR, 8, 28, 8)
    assert BODIES.error.decode(error[24:32]) == (2, Cause.REQUEST, 0)
    assert error[32:] == b"the window is not increasing"


@given(st.binary(min_size=24, max_size=24))
def test_a_header_is_whole_or_an_error(data: bytes) -> None:
    try:
        header = wire.decode_header(data)
    except wire.WireError:
        size = struct.unpack_from("<H", data, 6)[0]
        assert data[:4] != wire.MAGIC or size > wire.MAX_BODY
    else:
        kind, body, payload, number = header
        assert wire.HEADER.pack(wire.MAGIC, kind, body, payload, number)[:12] == data[:12]


@pytest.mark.parametrize("body", BODIES, ids=lambda body: body.name)
def test_a_longer_body_is_read_and_a_shorter_one_is_not(body: wire.Body[Any]) -> None:
    data = bytes(range(1, 200)) * 2
    value = body.decode(data[: body.size])
    assert repr(body.decode(data)) == repr(value)
    assert len(body.encode(value)) == body.size
    with pytest.raises(wire.WireError, match="fixed part"):
        body.decode(data[: body.size - 1])


@given(arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40)),
              elements=st.integers(0, 1)))  # fmt: skip
def test_runs_give_the_mask_back(mask: np.ndarray[Any, np.dtype[np.uint8]]) -> None:
    runs = encode_runs(mask)
    lengths = np.frombuffer(runs, "<u4")
    assert (lengths[1:] > 0).all()
    np.testing.assert_array_equal(decode_runs(runs, *mask.shape), mask)
    with pytest.raises(wire.WireError, match="runs of"):
        decode_runs(runs, mask.shape[0] + 1, mask.shape[1])


def test_runs_of_another_length_are_refused() -> None:
    with pytest.raises(wire.WireError, match="whole uint32"):
        decode_runs(b"\1\0\0", 1, 1)


@given(st.text(max_size=90), st.integers(2, 64))
def test_fixed_text_fits_and_ends(value: str, size: int) -> None:
    field = wire.fixed_text(value, size)
    assert len(field) < size
    assert value.startswith(field.decode())
    whole = struct.pack(f"{size}s", field)
    assert wire.text(whole) == field.decode().split("\0", 1)[0]


def test_a_mask_begins_on_a_border_behind_its_frame() -> None:
    assert [mask_offset(n) for n in (0, 1, 64, 65)] == [0, 64, 64, 128]
