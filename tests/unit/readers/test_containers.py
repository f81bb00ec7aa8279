from __future__ import annotations

import gzip
import struct
import tracemalloc
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from scanside.errors import InputError
from scanside.preprocess import MAX_SIDE
from scanside.readers import ifd
from scanside.readers.containers import HEAD, describe, inspect, recognise
from scanside.readers.tiff import decode

if TYPE_CHECKING:
    from pathlib import Path


def test_pages_are_declared_before_anything_is_decoded(build: Any, picture: Any) -> None:
    small = picture[:33, :35]
    found = {
        inspect(data).kind: inspect(data).pages
        for data in (
            build.encode(".png", picture),
            build.encode(".jpg", picture),
            build.encode(".webp", picture),
            build.tiff(picture, small, picture),
        )
    }
    assert found == {
        "PNG": ((52, 40),),
        "JPEG": ((52, 40),),
        "WebP": ((52, 40),),
        "TIFF": ((52, 40), (35, 33), (52, 40)),
    }


def test_memoryview_is_taken_as_well(build: Any, picture: Any) -> None:
    data = build.encode(".png", picture)
    assert inspect(memoryview(data)) == inspect(data)


@pytest.mark.parametrize(
    ("head", "what"),
    [
        (b"", "empty"),
        (b"hello,\tworld\r\n", "text"),
        ("h\u00e4matom\n".encode(), "text"),
        (bytes(128) + b"DICM" + b"\x02\x00\x00\x00", "DICOM"),
        (struct.pack("<i", 348) + bytes(340) + b"n+1\0", "NIfTI"),
        (struct.pack("<i", 348) + bytes(340) + b"ni1\0", "NIfTI"),
        (struct.pack("<i", 540) + b"n+2\0\r\n\x1a\n", "NIfTI"),
        (gzip.compress(b"volume"), "gzip (a compressed NIfTI?)"),
        (b"BM" + bytes(60), "BMP"),
        (b"GIF89a" + bytes(60), "GIF"),
        (b"\x89HDF\r\n\x1a\n" + bytes(60), "HDF5"),
        (b"PK\x03\x04" + bytes(60), "zip"),
        (b"%PDF-1.7", "PDF"),
        (b"\x93NUMPY\x01\x00", "NumPy"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
        (bytes(64), "unknown"),
        (b"\x89PN\x01", "unknown"),
        (b"RIFF\x10\0\0\0WAVEfmt ", "unknown"),
    ],
)
def test_other_content_is_refused_by_name(head: bytes, what: str) -> None:
    assert recognise(head) is None
    assert describe(head) == what
    with pytest.raises(InputError, match="no image that is read here") as error:
        inspect(head)
    assert error.value.given.endswith(f"but {what}")
    assert "PNG, TIFF, JPEG and WebP" in error.value.accepted


def test_real_dicom_and_nifti_are_refused_by_name(data_root: Path) -> None:
    files = {"DICOM": "dicom_t1/N2D_0181.dcm", "gzip": "nifti/niivue_FLAIR.nii.gz"}
    for what, name in files.items():
        with pytest.raises(InputError, match=f"but {what}"):
            inspect((data_root / "readers" / name).read_bytes()[:HEAD])


# --- sizes ------------------------------------------------------------------------------------


def oversized(build: Any, kind: str) -> bytes:
    pixel = np.zeros((1, 1, 3), np.uint8)
    if kind == "PNG":
        data = bytearray(build.png(pixel, 2))
        data[8:33] = build.png_chunk(b"IHDR", struct.pack(">IIBBBBB", 20_000, 50, 8, 2, 0, 0, 0))
        return bytes(data)
    if kind == "TIFF":
        return bytes(build.tiff(pixel, tags={257: [MAX_SIDE + 1]}))
    if kind == "WebP":
        bits = (16_382) | (50 << 14)
        return bytes(build.webp((b"VP8L", b"\x2f" + struct.pack("<I", bits) + bytes(20))))
    data = bytearray(build.encode(".jpg", np.zeros((40, 40, 3), np.uint8)))
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", 65_500, 65_500)
    return bytes(data)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG", "WebP"])
def test_oversize_is_refused_from_the_header(build: Any, kind: str) -> None:
    with pytest.raises(InputError, match="the image declares [0-9]+ x [0-9]+ pixels") as error:
        inspect(oversized(build, kind))
    assert str(MAX_SIDE) in error.value.accepted


@pytest.mark.parametrize("side", [0, 2**31])
def test_impossible_png_sides_are_refused(build: Any, side: int) -> None:
    data = bytearray(build.png(np.zeros((1, 1, 3), np.uint8), 2))
    data[8:33] = build.png_chunk(b"IHDR", struct.pack(">IIBBBBB", 50, side, 8, 2, 0, 0, 0))
    with pytest.raises(InputError, match=f"50 x {side}"):
        inspect(bytes(data))


# --- PNG --------------------------------------------------------------------------------------


def test_png_with_any_changed_byte_is_refused(build: Any, picture: Any) -> None:
    data = build.encode(".png", picture)
    for place in range(len(data)):
        changed = bytearray(data)
        changed[place] ^= 0x10
        with pytest.raises(InputError):
            inspect(bytes(changed))


@pytest.mark.parametrize(
    ("chunks", "match"),
    [
        ((b"acTL", bytes(8)), "animated"),
        ((b"CgBI", bytes(4)), "no standard knows"),
        ((b"IHDR", bytes(13)), "IHDR is not its first"),
    ],
)
def test_png_chunks_that_are_refused(build: Any, picture: Any, chunks: Any, match: str) -> None:
    with pytest.raises(InputError, match=match):
        inspect(build.png(picture, 2, extra=build.png_chunk(*chunks)))


@pytest.mark.parametrize(("color", "depth"), [(2, 4), (3, 16), (1, 8), (5, 8), (0, 3)])
def test_png_header_that_the_standard_does_not_know(build: Any, color: int, depth: int) -> None:
    data = bytearray(build.png(np.zeros((9, 9), np.uint8), 0))
    data[8:33] = build.png_chunk(b"IHDR", struct.pack(">IIBBBBB", 9, 9, depth, color, 0, 0, 0))
    with pytest.raises(InputError, match=f"colour type {color}, {depth} bits"):
        inspect(bytes(data))


def test_png_without_pixels_or_palette(build: Any, picture: Any) -> None:
    whole = build.png(picture, 2)
    with pytest.raises(InputError, match="no pixels"):
        inspect(whole[:33] + build.png_chunk(b"IEND", b""))
    with pytest.raises(InputError, match="no palette"):
        inspect(build.png(picture[..., 0], 3))


# --- JPEG -------------------------------------------------------------------------------------


def test_jpeg_processes_that_are_refused(build: Any, picture: Any) -> None:
    progressive = build.encode(".jpg", picture, 2, 1)
    with pytest.raises(InputError, match="SOF2"):
        inspect(progressive)
    data = build.encode(".jpg", picture)
    frame = data.index(b"\xff\xc0")
    for marker in (0xC3, 0xC9):
        with pytest.raises(InputError, match=f"SOF{marker - 0xC0}"):
            inspect(data[: frame + 1] + bytes([marker]) + data[frame + 2 :])
    with pytest.raises(InputError, match="12 bits"):
        inspect(data[: frame + 4] + b"\x0c" + data[frame + 5 :])


def test_jpeg_in_several_scans_is_refused(build: Any, picture: Any) -> None:
    data = build.encode(".jpg", picture)
    scan = data.index(b"\xff\xda")
    with pytest.raises(InputError, match=r"3 channels in scans of \[3, 3\]"):
        inspect(data[:-2] + data[scan:])


def test_jpeg_without_its_end_marker(build: Any, picture: Any) -> None:
    data = build.encode(".jpg", picture)
    with pytest.raises(InputError, match="damaged or incomplete"):
        inspect(data[:-2])
    with pytest.raises(InputError, match="damaged or incomplete"):
        inspect(data[:-1])


def test_cmyk_jpeg_is_refused(picture: Any) -> None:
    image = pytest.importorskip("PIL.Image")
    import io

    stream = io.BytesIO()
    image.fromarray(picture).convert("CMYK").save(stream, "JPEG")
    with pytest.raises(InputError, match="4 channels"):
        inspect(stream.getvalue())


# --- WebP -------------------------------------------------------------------------------------


def test_webp_that_contradicts_itself(build: Any, picture: Any) -> None:
    lossless = inspect_body(build.encode(".webp", picture))
    canvas = bytes(4) + (51).to_bytes(3, "little") + (39).to_bytes(3, "little")
    assert inspect(build.webp((b"VP8X", canvas), (b"VP8L", lossless))).pages == ((52, 40),)
    wrong = bytes(4) + (52).to_bytes(3, "little") + (39).to_bytes(3, "little")
    with pytest.raises(InputError, match="canvas"):
        inspect(build.webp((b"VP8X", wrong), (b"VP8L", lossless)))
    with pytest.raises(InputError, match="pictures"):
        inspect(build.webp((b"VP8L", lossless), (b"VP8L", lossless)))
    with pytest.raises(InputError, match="animated"):
        inspect(build.webp((b"VP8X", canvas), (b"ANIM", bytes(6)), (b"ANMF", bytes(16))))
    with pytest.raises(InputError, match="no signature"):
        inspect(build.webp((b"VP8L", b"\x2e" + lossless[1:])))
    with pytest.raises(InputError, match="key frame"):
        inspect(build.webp((b"VP8 ", bytes(30))))


def inspect_body(webp: bytes) -> bytes:
    """Return the body of the only chunk."""
    return webp[20 : 20 + struct.unpack_from("<I", webp, 16)[0]]


# --- orientation and what follows the end -----------------------------------------------------


def with_exif(build: Any, kind: str, picture: Any, exif: bytes) -> bytes:
    if kind == "PNG":
        return bytes(build.png(picture, 2, extra=build.png_chunk(b"eXIf", exif)))
    if kind == "JPEG":
        segment = b"Exif\0\0" + exif
        data = build.encode(".jpg", picture)
        size = struct.pack(">H", len(segment) + 2)
        return bytes(data[:2] + b"\xff\xe1" + size + segment + data[2:])
    if kind == "WebP":
        canvas = b"\x08\0\0\0" + (51).to_bytes(3, "little") + (39).to_bytes(3, "little")
        body = inspect_body(build.encode(".webp", picture))
        return bytes(build.webp((b"VP8X", canvas), (b"VP8L", body), (b"EXIF", exif)))
    return bytes(build.tiff(picture, tags={274: [exif[18]]}))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WebP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_only_upright_pictures_are_accepted(
    build: Any, picture: Any, kind: str, orientation: int
) -> None:
    data = with_exif(build, kind, picture, build.exif(orientation))
    if orientation == 1:
        assert inspect(data).kind == kind
    else:
        with pytest.raises(InputError, match=f"turned or mirrored.*orientation {orientation}"):
            inspect(data)


def test_exif_of_either_byte_order_and_damaged_exif(build: Any, picture: Any) -> None:
    with pytest.raises(InputError, match="orientation 6"):
        inspect(with_exif(build, "PNG", picture, build.exif(6, ">")))
    for exif in (b"garbage!", build.exif(1)[:12]):
        with pytest.raises(InputError, match="EXIF block"):
            inspect(with_exif(build, "JPEG", picture, exif))


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
def test_only_padding_may_follow_the_end(build: Any, picture: Any, suffix: str) -> None:
    data = build.encode(suffix, picture)
    assert inspect(data + bytes(512)) == inspect(data)
    assert inspect(data + b"\xff\xff\0") == inspect(data)
    with pytest.raises(InputError, match="bytes follow the end"):
        inspect(data + data)


# --- TIFF -------------------------------------------------------------------------------------


def test_tiff_loop_of_pages_is_refused(build: Any, picture: Any) -> None:
    data = bytearray(build.tiff(picture, picture))
    first = struct.unpack_from("<I", data, 4)[0]
    entries = struct.unpack_from("<H", data, first)[0]
    second = struct.unpack_from("<I", data, first + 2 + 12 * entries)[0]
    struct.pack_into("<I", data, second + 2 + 12 * entries, first)
    with pytest.raises(InputError, match="loop"):
        inspect(bytes(data))


def test_number_of_tiff_pages_is_bounded(build: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pixel = np.zeros((1, 1), np.uint8)
    monkeypatch.setattr(ifd, "MAX_PAGES", 12)
    assert len(inspect(build.tiff(*[pixel] * 12)).pages) == 12
    with pytest.raises(InputError, match="more than 12 pages"):
        inspect(build.tiff(*[pixel] * 13))


@pytest.mark.parametrize(
    ("tags", "match"),
    [
        ({259: [7]}, "Compression 7"),
        ({262: [0]}, "PhotometricInterpretation 0"),
        ({262: [3]}, "PhotometricInterpretation 3"),
        ({262: [5]}, "PhotometricInterpretation 5"),
        ({262: [6]}, "PhotometricInterpretation 6"),
        ({262: None}, "PhotometricInterpretation -1"),
        ({262: [1]}, "3 channels where 1 are grey"),
        ({258: [8, 8, 16]}, "BitsPerSample.*8, 8, 16"),
        ({258: [12, 12, 12]}, "BitsPerSample 12"),
        ({258: None}, "BitsPerSample 1 "),
        ({339: [2, 2, 2]}, "BitsPerSample 8 and SampleFormat 2"),
        ({338: [0], 277: [4]}, "ExtraSamples"),
        ({277: [4]}, "4 channels"),
        ({266: [2]}, "FillOrder 2"),
        ({254: [1]}, "NewSubfileType 1"),
        ({317: [2]}, "Predictor 2"),  # uncompressed: libtiff would ignore it
        ({317: [3], 259: [8]}, "Predictor 3"),
        ({284: [3]}, "PlanarConfiguration 3"),
        ({278: [7]}, "1 strips or tiles where the page needs 6"),
        ({278: [0]}, "tiles or strips of|have 52 x 0"),
        ({279: None}, "strips or tiles"),
        ({273: [2**31]}, "partly outside"),
        ({322: [5000], 323: [16]}, "5000 x 16"),
        ({256: None}, "0 x 40"),
    ],
)
def test_tiff_pages_that_are_refused(
    build: Any, picture: Any, tags: dict[int, Any], match: str
) -> None:
    with pytest.raises(InputError, match=f"page 1: .*({match})"):
        inspect(build.tiff(picture, tags=tags))


@pytest.mark.parametrize("kind", [0, 2, 5, 13, 16, 18, 99])
def test_tiff_field_of_another_type(build: Any, picture: Any, kind: int) -> None:
    data = bytearray(build.tiff(picture, tags={278: [40]}))
    entry = data.index(struct.pack("<HHI", 278, 4, 1))
    struct.pack_into("<HI", data, entry + 2, kind, 10**6)  # far more values than the file holds
    with pytest.raises(InputError, match=r"holds 1000000 values|lies outside"):
        inspect(bytes(data))


def test_tiff_without_pages_and_with_wild_offsets(build: Any, picture: Any) -> None:
    with pytest.raises(InputError, match="no page"):
        inspect(b"II*\0\0\0\0\0")
    for big, offset in ((False, 2**32 - 1), (True, 2**64 - 1)):
        data = bytearray(build.tiff(picture, big=big))
        struct.pack_into("<Q" if big else "<I", data, 8 if big else 4, offset)
        with pytest.raises(InputError, match="damaged or incomplete"):
            inspect(bytes(data))
    with pytest.raises(InputError, match="BigTIFF header"):
        inspect(b"II+\0\4\0\0\0" + bytes(8))


def test_pages_that_share_their_strips_take_no_room_each() -> None:
    height, pages = 1024, 200
    lists = struct.pack(f"<{height}I", *[8] * height) + struct.pack(f"<{height}I", *[1] * height)
    start = 8 + len(lists)
    entries = b"".join(
        struct.pack("<HHII", *entry)
        for entry in (
            (256, 4, 1, 1), (257, 4, 1, height), (258, 3, 1, 8), (262, 3, 1, 1),
            (273, 4, height, 8), (278, 4, 1, 1), (279, 4, height, 8 + 4 * height),
        )
    )  # fmt: skip
    size = 2 + len(entries) + 4
    directories = b"".join(
        struct.pack("<H", 7)
        + entries
        + struct.pack("<I", start + page * size if page < pages else 0)
        for page in range(1, pages + 1)
    )
    data = b"II*\0" + struct.pack("<I", start) + lists + directories
    tracemalloc.start()
    found = inspect(memoryview(data))
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(found.layouts) == pages
    assert kept < 2**20
    assert decode(memoryview(data), found.layouts[-1]).shape == (height, 1, 1)
