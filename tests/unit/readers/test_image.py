from __future__ import annotations

import contextlib
import os
import struct
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scanside.errors import InputError
from scanside.preprocess import MAX_SIDE
from scanside.readers import image
from scanside.readers.image import read_file, read_image

rng = np.random.default_rng(20)

GREY8 = rng.integers(0, 256, (37, 43), np.uint8)
RGB8 = rng.integers(0, 256, (37, 43, 3), np.uint8)
GREY16 = rng.integers(0, 65536, (37, 43), np.uint16)
RGB16 = rng.integers(0, 65536, (37, 43, 3), np.uint16)
SIGNED16 = rng.integers(-32768, 32768, (37, 43, 3)).astype(np.int16)
FLOAT32 = rng.normal(size=(37, 43, 3)).astype(np.float32)


def only(data: bytes) -> Any:
    (read,) = read_image(data, "some.file")
    assert (read.source, read.index) == ("some.file", 0)
    assert read.pixels.flags.c_contiguous
    return read.pixels


def check(data: bytes, wanted: Any) -> None:
    pixels = only(data)
    assert pixels.dtype == wanted.dtype
    np.testing.assert_array_equal(pixels, wanted)


# --- PNG --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("pixels", "color"), [(GREY8, 0), (RGB8, 2), (GREY16, 0), (RGB16, 2)])
@pytest.mark.parametrize("extra", [None, 4, 6])
def test_png_of_8_and_16_bits_with_and_without_opaque_alpha(
    build: Any, pixels: Any, color: int, extra: int | None
) -> None:
    if extra is None:
        check(build.png(pixels, color), pixels)
    elif (extra == 4) == (pixels.ndim == 2):
        full = np.full(pixels.shape[:2], np.iinfo(pixels.dtype).max, pixels.dtype)
        check(build.png(np.dstack([pixels, full]), extra), pixels)
        full[20, 30] -= 1
        with pytest.raises(InputError, match=r"some.file: 1 pixels are not opaque"):
            only(build.png(np.dstack([pixels, full]), extra))


@pytest.mark.parametrize(("depth", "step"), [(1, 255), (2, 85), (4, 17)])
def test_png_below_8_bits_is_expanded_as_the_standard_says(
    build: Any, depth: int, step: int
) -> None:
    levels = GREY8 >> (8 - depth)
    check(build.png(levels, 0, depth), (levels * step).astype(np.uint8))


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_png_palette_is_expanded(build: Any, depth: int) -> None:
    palette = rng.integers(0, 256, (2**depth, 3), np.uint8)
    indices = GREY8 >> (8 - depth)
    table = build.png_chunk(b"PLTE", palette.tobytes())
    check(build.png(indices, 3, depth, extra=table), palette[indices])
    opaque = table + build.png_chunk(b"tRNS", b"\xff\xff")
    check(build.png(indices, 3, depth, extra=opaque), palette[indices])
    clear = table + build.png_chunk(b"tRNS", b"\xff\x7f")
    with pytest.raises(InputError, match="not opaque"):
        only(build.png(indices, 3, depth, extra=clear))


def test_png_transparent_colour(build: Any) -> None:
    unused = build.png_chunk(b"tRNS", struct.pack(">HHH", 1000, 1000, 1000))
    check(build.png(RGB16, 2, extra=unused), RGB16)
    used = build.png_chunk(b"tRNS", struct.pack(">HHH", *RGB16[3, 4].tolist()))
    with pytest.raises(InputError, match="not opaque"):
        only(build.png(RGB16, 2, extra=used))
    with pytest.raises(InputError, match="grey level of the PNG is declared transparent"):
        only(build.png(GREY8, 0, extra=build.png_chunk(b"tRNS", b"\0\7")))


def test_interlaced_png() -> None:
    pil = pytest.importorskip("PIL.Image")
    import io

    stream = io.BytesIO()
    pil.fromarray(RGB8).save(stream, "PNG")
    adam7 = interlaced(RGB8)
    check(stream.getvalue(), RGB8)
    check(adam7, RGB8)


def interlaced(pixels: Any) -> bytes:
    """Write an Adam7 PNG (PNG, section 8)."""
    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2)]
    raw = b""
    for top, left, down, across in [*passes, (1, 0, 2, 1)]:
        part = pixels[top::down, left::across]
        raw += b"".join(b"\0" + row.tobytes() for row in part)
    height, width = pixels.shape[:2]
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 1)),
        (b"IDAT", zlib.compress(raw)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(b)) + n + b + struct.pack(">I", zlib.crc32(n + b)) for n, b in chunks
    )


def test_png_metadata_changes_nothing_and_prints_nothing(
    build: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    notes = (
        build.png_chunk(b"gAMA", struct.pack(">I", 45455))
        + build.png_chunk(b"sBIT", b"\5\5\5")
        + build.png_chunk(b"iCCP", b"profile\0\0" + zlib.compress(b"no profile"))
        + build.png_chunk(b"tEXt", b"Comment\0made up")
    )
    check(build.png(RGB8, 2, extra=notes), RGB8)
    assert capfd.readouterr() == ("", "")
    cv2.imdecode(np.frombuffer(build.png(RGB8, 2, extra=notes), np.uint8), cv2.IMREAD_UNCHANGED)
    assert "libpng warning" in capfd.readouterr().err  # what leaving the notes out avoids


def test_png_whose_pixels_are_cut_inside_intact_chunks(build: Any) -> None:
    whole = build.png(RGB8, 2)
    start = whole.index(b"IDAT") - 4
    size = struct.unpack_from(">I", whole, start)[0]
    pixels = whole[start + 8 : start + 8 + size]
    for kept in (size // 2, size - 5):
        cut = build.png_chunk(b"IDAT", pixels[:kept]) + build.png_chunk(b"IEND", b"")
        with pytest.raises(InputError, match="cannot be decoded"):
            only(whole[:start] + cut)


# --- TIFF -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "pixels", [GREY8, RGB8, GREY16, RGB16, SIGNED16, SIGNED16[..., 0], FLOAT32]
)
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("big", [0, 1])
@pytest.mark.parametrize("planar", [0, 1])
@pytest.mark.parametrize("shape", [{}, {"rows": 7}, {"tile": (16, 32)}, {"tile": (64, 64)}])
def test_tiff_layouts(
    build: Any, pixels: Any, order: str, big: int, planar: int, shape: dict[str, Any]
) -> None:
    data = build.tiff(pixels, order=order, big=bool(big), planar=bool(planar), **shape)
    check(data, pixels)


@pytest.mark.parametrize("pixels", [GREY8, RGB8, RGB16, SIGNED16])
@pytest.mark.parametrize("order", ["<", ">"])
def test_tiff_deflate_and_predictor(build: Any, pixels: Any, order: str) -> None:
    options = {"order": order, "rows": 10, "compression": 8, "compress": zlib.compress}
    check(build.tiff(pixels, **options), pixels)
    check(build.tiff(pixels, predictor=2, **options), pixels)
    check(build.tiff(pixels, predictor=2, **options | {"compression": 32946}), pixels)


@pytest.mark.parametrize("compression", [1, 5, 8, 32773, 32946])
@pytest.mark.parametrize("pixels", [GREY8, RGB8, GREY16, RGB16, FLOAT32])
def test_tiff_as_opencv_writes_it(build: Any, pixels: Any, compression: int) -> None:
    check(build.encode(".tif", pixels, cv2.IMWRITE_TIFF_COMPRESSION, compression), pixels)


def test_tiff_of_opencv_by_default(build: Any, picture: Any) -> None:
    check(build.encode(".tif", picture), picture)  # LZW with the horizontal predictor


def test_tiff_alpha(build: Any) -> None:
    for pixels in (GREY8, RGB8, RGB16, FLOAT32):
        full = 1 if pixels.dtype.kind == "f" else np.iinfo(pixels.dtype).max
        alpha = np.full(pixels.shape[:2], full, pixels.dtype)
        for kind in (1, 2):
            check(build.tiff(np.dstack([pixels, alpha]), tags={338: [kind]}), pixels)
        alpha[0, 0] = 0
        with pytest.raises(InputError, match="1 pixels are not opaque"):
            only(build.tiff(np.dstack([pixels, alpha])))


def test_tiff_pages_come_one_by_one_in_order(build: Any) -> None:
    pages = [RGB8, GREY16, FLOAT32, RGB8[:33, :34]]
    read = list(read_image(build.tiff(*pages), "stack.tif"))
    assert [page.index for page in read] == [0, 1, 2, 3]
    for page, wanted in zip(read, pages, strict=True):
        assert page.pixels.dtype == wanted.dtype
        np.testing.assert_array_equal(page.pixels, wanted)


def test_memory_is_that_of_one_page(build: Any) -> None:
    page = np.zeros((512, 512), np.uint16)
    data = build.tiff(*[page] * 40, compression=8, compress=zlib.compress)
    tracemalloc.start()
    try:
        count = sum(1 for _ in read_image(data, "stack.tif"))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == 40
    assert peak < 5 * page.nbytes


def test_tiff_strip_that_decodes_to_too_little_is_never_half_a_picture(build: Any) -> None:
    # OpenCV reads each of these 8-bit pages without an error.
    def short(raw: bytes) -> bytes:
        return zlib.compress(raw[:-1])

    def damaged(raw: bytes) -> bytes:
        data = bytearray(zlib.compress(raw))
        data[len(data) // 2] ^= 1
        return bytes(data)

    for compress in (short, damaged):
        with pytest.raises(InputError, match="stack.tif: .*strip or tile at byte"):
            list(read_image(build.tiff(RGB8, compression=8, compress=compress), "stack.tif"))
    with pytest.raises(InputError, match="4772 bytes of pixels in place of 4773"):
        only(build.tiff(RGB8, tags={279: [RGB8.nbytes - 1]}))


def test_a_damaged_page_is_reported_and_the_pages_before_it_are_read(build: Any) -> None:
    losses = iter([0, 9])

    def compress(raw: bytes) -> bytes:
        return zlib.compress(raw[: len(raw) - next(losses)])

    data = build.tiff(RGB8, RGB8, compression=8, compress=compress)
    pages = read_image(data, "stack.tif")
    np.testing.assert_array_equal(next(pages).pixels, RGB8)
    with pytest.raises(InputError, match=r"stack\.tif: page 2: "):
        next(pages)


# --- JPEG and WebP ----------------------------------------------------------------------------


@pytest.mark.parametrize("options", [(), (cv2.IMWRITE_JPEG_RST_INTERVAL, 2)])
def test_jpeg(
    build: Any, picture: Any, options: tuple[int, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    pixels = only(build.encode(".jpg", picture, *options))
    assert pixels.shape == picture.shape
    assert np.abs(pixels.astype(int) - picture).mean() < 3  # in RGB order, near what was written
    grey = only(build.encode(".jpg", picture[..., 0], *options))
    assert grey.shape == picture.shape[:2]
    assert np.abs(grey.astype(int) - picture[..., 0]).mean() < 2
    assert capfd.readouterr() == ("", "")


def test_jpeg_cut_and_closed_again_is_refused(build: Any, picture: Any) -> None:
    noisy = picture + rng.integers(0, 20, picture.shape, np.uint8)
    for pixels in (noisy, noisy[..., 0], picture, np.zeros((300, 300, 3), np.uint8)):
        whole = build.encode(".jpg", pixels)
        scan = whole.index(b"\xff\xda") + 14
        for kept in (0.3, 0.6, 0.9):
            end = scan + int((len(whole) - scan) * kept)
            with pytest.raises(InputError, match="pixels end before the picture does"):
                only(whole[:end] + b"\xff\xd9")


def test_jpeg_cut_inside_a_stuffed_byte_is_refused(build: Any) -> None:
    whole = build.encode(".jpg", rng.integers(0, 256, (80, 80, 3), np.uint8))
    scan = whole.index(b"\xff\xda")
    places = [n + 1 for n in range(scan, len(whole) - 60) if whole[n : n + 2] == b"\xff\0"]
    assert len(places) > 10
    for place in places:
        with pytest.raises(InputError, match="pixels end before the picture does"):
            only(whole[:place] + b"\xff\xd9")


def test_webp(build: Any, picture: Any) -> None:
    check(build.encode(".webp", picture), picture)
    lossy = only(build.encode(".webp", picture, cv2.IMWRITE_WEBP_QUALITY, 95))
    assert np.abs(lossy.astype(int) - picture).mean() < 4
    alpha = np.full((*picture.shape[:2], 1), 255, np.uint8)
    alpha[5, 5] = 9
    with pytest.raises(InputError, match="1 pixels are not opaque"):
        only(build.encode(".webp", np.dstack([picture, alpha])))


# --- damage -----------------------------------------------------------------------------------


KINDS = ["png", "png16", "tiff", "tiff-lzw", "tiff-deflate", "tiff-stack", "bigtiff", "jpg", "webp"]


@pytest.fixture(scope="session")
def samples(build: Any, picture: Any) -> dict[str, bytes]:
    lzw = (cv2.IMWRITE_TIFF_COMPRESSION, 5)
    return {
        "png": build.png(picture, 2),
        "png16": build.png(GREY16, 0),
        "tiff": build.tiff(picture, rows=16),
        "tiff-lzw": build.encode(".tif", picture, *lzw),
        "tiff-deflate": build.tiff(picture, rows=16, compression=8, compress=zlib.compress),
        "tiff-stack": build.tiff(picture, GREY16),
        "bigtiff": build.tiff(picture, order=">", big=True, tile=(32, 32)),
        "jpg": build.encode(".jpg", picture),
        "webp": build.encode(".webp", picture),
    }


@pytest.mark.parametrize("kind", KINDS)
def test_no_truncation_ever_gives_a_slice(samples: dict[str, bytes], kind: str) -> None:
    whole = samples[kind]
    assert list(read_image(whole, "whole"))
    step = max(1, len(whole) // 700)
    for kept in [*range(0, len(whole), step), *range(len(whole) - 40, len(whole))]:
        with pytest.raises(InputError, match="^cut: "):
            next(read_image(whole[:kept], "cut"))


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_damage_is_refused_or_harmless(samples: dict[str, bytes], kind: str, data: Any) -> None:
    whole = samples[kind]
    changed = bytearray(whole)
    headers = st.one_of(st.integers(0, 200), st.integers(len(whole) - 260, len(whole) - 1))
    places = st.one_of(headers, st.integers(0, len(whole) - 1))
    for place in data.draw(st.lists(places, min_size=1, max_size=4)):
        changed[min(max(place, 0), len(whole) - 1)] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        place = data.draw(st.integers(0, len(whole)))
        changed[place:place] = data.draw(st.binary(max_size=9))
    read = []
    with contextlib.suppress(InputError):  # any other error, or a hang, fails the test
        read = [page.pixels for page in read_image(bytes(changed), "changed")]
    if kind.startswith("png") and read:  # every byte of a PNG has a checksum
        np.testing.assert_array_equal(read[0], only(whole))
    for pixels in read:
        assert pixels.ndim == 2 or pixels.shape[2] == 3
        assert pixels.dtype in {np.dtype(t) for t in (np.uint8, np.uint16, np.int16, np.float32)}


@given(st.binary(max_size=400))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_refused(data: bytes) -> None:
    for magic in (b"", b"\x89PNG\r\n\x1a\n", b"II*\0", b"MM\0+", b"\xff\xd8\xff", b"RIFF0000WEBP"):
        with pytest.raises(InputError):
            list(read_image(magic + data, "bytes"))


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
def test_oversize_never_reaches_a_decoder(
    build: Any, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = build.encode(suffix, np.zeros((2, MAX_SIDE + 1, 3), np.uint8))

    def refuse(*_: object) -> None:
        pytest.fail("decoded")

    monkeypatch.setattr("scanside.readers.image.cv2.imdecode", refuse)
    monkeypatch.setattr("scanside.readers.image.tiff.decode", refuse)
    with pytest.raises(InputError, match="big: .*the image declares 4097 x 2 pixels"):
        read_image(data, "big")


# --- files ------------------------------------------------------------------------------------


def test_file_is_told_by_content_and_named_in_the_slice(build: Any, tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(build.png(RGB8, 2))
    (read,) = read_file(path)
    assert read.source == str(path)
    np.testing.assert_array_equal(read.pixels, RGB8)


def test_errors_name_the_file_first_and_say_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "notes.png"
    path.write_text("not an image")
    with pytest.raises(InputError) as error:
        read_file(path)
    assert str(error.value).startswith(f"{path}: the content is no image")
    assert error.value.given.endswith("text")
    assert error.value.accepted
    assert error.value.remedy


def test_name_that_is_no_text_still_gives_a_valid_source(build: Any, tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/\xff.png"
    with open(path, "wb") as file:  # noqa: PTH123 -- a name in bytes
        file.write(build.png(RGB8, 2))
    (read,) = read_file(os.fsdecode(path))
    assert read.source.encode().endswith(b"/\\xff.png")


def test_what_is_no_regular_file_is_refused_without_blocking(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo.png"
    os.mkfifo(fifo)
    for path in (fifo, tmp_path, Path("/dev/zero"), Path("/dev/null")):
        with pytest.raises(InputError, match="not a regular file"):
            read_file(path)


def test_file_that_cannot_be_read(
    build: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="gone.png: the file cannot be read .No such file"):
        read_file(tmp_path / "gone.png")
    with pytest.raises(InputError, match="cannot be read"):
        read_file("nul\0byte.png")
    path = tmp_path / "locked.png"
    path.write_bytes(build.png(RGB8, 2))

    def denied(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", denied)
    with pytest.raises(InputError, match="locked.png: the file cannot be read .Permission denied"):
        read_file(path)


def test_file_replaced_by_a_fifo_does_not_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fifo = tmp_path / "fifo.png"
    os.mkfifo(fifo)
    monkeypatch.setattr("scanside.readers.image.stat.S_ISREG", lambda _: True)
    with pytest.raises(InputError, match="but empty"):
        read_file(fifo)


def test_size_of_a_file_is_bounded(
    build: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "large.png"
    path.write_bytes(build.png(RGB8, 2))
    monkeypatch.setattr(image, "MAX_FILE_BYTES", path.stat().st_size)
    assert len(list(read_file(path))) == 1
    monkeypatch.setattr(image, "MAX_FILE_BYTES", path.stat().st_size - 1)
    with pytest.raises(InputError, match="large.png: the file has"):
        read_file(path)


def test_real_slices_are_read_exactly(data_root: Path, build: Any) -> None:
    for path in sorted((data_root / "lgg").glob("TCGA_DU_*/*_2[0-3].webp"))[:12]:
        bgr: Any = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        (read,) = read_file(path)
        np.testing.assert_array_equal(read.pixels, bgr[..., ::-1])
        for compression in (1, 5, 8, 32773):
            check(build.encode(".tif", read.pixels, 259, compression), read.pixels)
        check(build.encode(".png", read.pixels), read.pixels)
