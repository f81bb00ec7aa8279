from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scanside.readers.compression import deflate, lzw, packbits

view = memoryview


def encode_lzw(raw: bytes, *, end: bool = True, capacity: int = 4094) -> bytes:
    """Write TIFF's LZW the way section 13 of TIFF 6.0 describes it, code by code."""
    bits: list[str] = []
    table: dict[bytes, int] = {}
    width = 9

    def put(code: int) -> None:
        bits.append(f"{code:0{width}b}")

    put(256)
    table, width = {bytes([n]): n for n in range(256)}, 9
    held = b""
    for byte in raw:
        longer = held + bytes([byte])
        if longer in table:
            held = longer
            continue
        put(table[held])
        table[longer] = len(table) + 2
        width = max(width, (table[longer] + 1).bit_length())
        held = bytes([byte])
        if table[longer] == capacity:
            put(256)
            table, width = {bytes([n]): n for n in range(256)}, 9
    if held:
        put(table[held])
        width = max(width, (len(table) + 3).bit_length())
    if end:
        put(257)
    joined = "".join(bits)
    joined += "0" * (-len(joined) % 8)
    return bytes(int(joined[n : n + 8], 2) for n in range(0, len(joined), 8))


def draw_bytes(seed: int, levels: int, size: int) -> bytes:
    return np.random.default_rng(seed).integers(0, levels, size, np.uint8).tobytes()


some_bytes = st.one_of(
    st.binary(max_size=600),
    st.builds(draw_bytes, st.integers(0, 99), st.integers(1, 20), st.integers(0, 9000)),
    st.binary(min_size=1, max_size=6).flatmap(
        lambda unit: st.integers(1, 4000).map(lambda n: (unit * n)[:9000])
    ),
)


@given(some_bytes, st.sampled_from([True, False]), st.sampled_from([700, 1200, 4094]))
@settings(max_examples=200, deadline=None)
def test_lzw_gives_back_what_was_encoded(raw: bytes, end: object, capacity: int) -> None:
    assert lzw(view(encode_lzw(raw, end=bool(end), capacity=capacity)), len(raw)) == raw


def test_lzw_over_many_tables() -> None:
    raw = np.random.default_rng(7).integers(0, 256, 30_000, np.uint8).tobytes()
    assert lzw(view(encode_lzw(raw)), len(raw)) == raw


def test_lzw_with_tables_cleared_early() -> None:
    raw = np.random.default_rng(8).integers(0, 9, 5000, np.uint8).tobytes()
    assert lzw(view(encode_lzw(raw, capacity=1200)), len(raw)) == raw


def test_lzw_code_that_is_completed_by_itself() -> None:
    # "aaaa": the second code is the entry that its own first byte completes.
    raw = b"a" * 500
    assert lzw(view(encode_lzw(raw)), 500) == raw


@pytest.mark.parametrize("size", [0, 1, 99, 101, 1000])
def test_lzw_of_another_size_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="bytes of pixels in place of|more LZW data"):
        lzw(view(encode_lzw(b"x" * 100)), size)


def test_lzw_code_not_yet_in_the_table_is_refused() -> None:
    codes = [256, 65, 300, 257]
    joined = "".join(f"{code:09b}" for code in codes).ljust(40, "0")
    data = bytes(int(joined[n : n + 8], 2) for n in range(0, 40, 8))
    with pytest.raises(ValueError, match="not in the table"):
        lzw(view(data), 100)


def test_lzw_of_clears_alone_ends_soon() -> None:
    # 0x80 0x40 0x20 ...: the nine bits of 256 again and again.
    clears = np.packbits(np.tile([1, 0, 0, 0, 0, 0, 0, 0, 0], 80_000)).tobytes()
    with pytest.raises(ValueError, match="0 bytes of pixels in place of 4096"):
        lzw(view(clears), 4096)


@given(some_bytes, st.data())
@settings(max_examples=150, deadline=None)
def test_cut_lzw_never_passes(raw: bytes, data: Any) -> None:
    encoded = encode_lzw(raw + b"tail")
    cut = data.draw(st.integers(0, max(0, len(encoded) - 4)))
    with pytest.raises(ValueError, match="bytes of pixels in place of"):
        lzw(view(encoded[:cut]), len(raw) + 4)


@pytest.mark.parametrize(
    ("data", "raw"),
    [
        (b"\x02abc", b"abc"),
        (b"\xfdz", b"zzzz"),
        (b"\x80\x00a\x80\x81b", b"a" + b"b" * 128),
        # the example of TIFF 6.0, section 9
        (
            bytes.fromhex("FE AA 02 80 00 2A FD AA 03 80 00 2A 22 F7 AA"),
            bytes.fromhex("AA AA AA 80 00 2A AA AA AA AA 80 00 2A 22") + b"\xaa" * 10,
        ),
    ],
)
def test_packbits(data: bytes, raw: bytes) -> None:
    assert packbits(view(data), len(raw)) == raw


@pytest.mark.parametrize("data", [b"", b"\x05abc", b"\xfd", b"\x02abc\x02abc", b"\x80" * 50])
def test_packbits_of_another_size_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="in place of 4"):
        packbits(view(data), 4)


def test_deflate_checks_its_checksum() -> None:
    raw = bytes(range(256)) * 4
    whole = zlib.compress(raw)
    assert deflate(view(whole), len(raw)) == raw
    assert deflate(view(whole + b"\0\0"), len(raw)) == raw
    with pytest.raises(ValueError, match="checksum is missing"):
        deflate(view(whole[:-1]), len(raw))
    with pytest.raises(ValueError, match="incorrect data check"):
        deflate(view(whole[:-1] + bytes([whole[-1] ^ 1])), len(raw))


def test_deflate_bomb_stops_at_the_size_it_should_have() -> None:
    bomb = zlib.compress(bytes(50_000_000))
    with pytest.raises(ValueError, match="1001 bytes of pixels in place of 1000"):
        deflate(view(bomb), 1000)
