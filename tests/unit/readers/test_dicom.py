"""DICOM files: every syntax gives the same values, and what cannot be read exactly is refused."""

from __future__ import annotations

import io
import shutil
import struct
import subprocess
import sys
import threading
import time
import zlib
from importlib.metadata import distribution
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom", reason="the extra dicom is not installed")

from hypothesis import given  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from pydicom.filereader import read_dataset  # noqa: E402

import studies  # noqa: E402
from scanside.errors import ExtraNotInstalledError, InputError, InternalError  # noqa: E402
from scanside.preprocess import Window  # noqa: E402
from scanside.readers.blobs import Blob  # noqa: E402
from scanside.readers.containers import HEAD, describe  # noqa: E402
from scanside.readers.dicom.codestream import jpeg2000_size, jpeg_size  # noqa: E402
from scanside.readers.dicom.header import read_header  # noqa: E402
from scanside.readers.dicom.pixels import decode_files  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydicom import Dataset

RLE, JPEG_LS = "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.80"
JPEG_2000, JPEG_LOSSLESS = "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.70"

VALUES = np.random.default_rng(5).integers(0, 4096, (33, 40), np.uint16)


def blob(path: Path) -> Blob:
    return Blob(path.name, path)


def pixels(path: Path) -> np.ndarray:
    (found,) = decode_files([read_header(blob(path))])
    return found


@pytest.fixture
def one(tmp_path: Path) -> Callable[..., Path]:
    """Write one classic slice, changed by a function, in a transfer syntax."""

    def make(
        change: Callable[[Dataset], Any] = lambda _: None,
        *,
        values: np.ndarray = VALUES,
        syntax: str | None = None,
    ) -> Path:
        images = np.zeros((1, *values.shape, 3), np.uint8)
        (plan, *_) = studies.plans(images)
        from dataclasses import replace

        from scanside_training.dicom.datasets import classic

        (dataset,) = classic(replace(plan, stored=values[np.newaxis]))
        if syntax is not None:
            dataset.compress(syntax)
        change(dataset)
        path = tmp_path / "slice.dcm"
        dataset.save_as(path, enforce_file_format=True)
        return path

    return make


@pytest.mark.parametrize("syntax", [None, RLE, JPEG_LS, JPEG_2000])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int16])
def test_every_syntax_gives_the_stored_values(
    one: Callable[..., Path], syntax: str | None, kind: type
) -> None:
    values = (VALUES.astype(np.int32) - 2000 if kind is np.int16 else VALUES).astype(kind)
    found = pixels(one(values=values, syntax=syntax))
    assert found.dtype == kind
    assert np.array_equal(found[0], values)


@pytest.mark.parametrize(
    "name",
    ["", "_RLE", "_big_endian", "_jpeg_2k_lossless", "_jpeg_ls_lossless"],
)
def test_real_multi_frame_files_decode_alike(data_root: Path, name: str) -> None:
    folder = data_root / "readers" / "dicom_formats"
    found = pixels(folder / f"emri_small{name}.dcm")
    plain = np.frombuffer(pydicom.dcmread(folder / "emri_small.dcm").PixelData, np.uint16).reshape(
        10, 64, 64
    )
    assert np.array_equal(found, plain)


def test_a_truncated_file_is_refused_for_that(data_root: Path) -> None:
    path = data_root / "readers" / "dicom_formats" / "emri_small_jpeg_2k_lossless_too_short.dcm"
    with pytest.raises(InputError, match="the file breaks off"):
        pixels(path)


def test_a_real_volume_reads_and_windows(data_root: Path) -> None:
    from scanside.assembly.choose import place
    from scanside.assembly.collect import collect
    from scanside.readers.discover import discover
    from scanside.study.volume import choose_window, eight_bits

    folder = data_root / "readers" / "dicom_t1"
    (study,) = collect(discover([folder], studies=True).studies).studies
    placed = place(study.candidates[0])
    assert placed.axial
    assert placed.grid.shape == (24, 384, 274)
    assert placed.grid.spacing == pytest.approx((2 / 3, 0.7, 2 / 3), abs=1e-3)
    volume = placed.candidate.read(placed.stack)
    grey = eight_bits(volume, choose_window(volume))
    assert 20 < grey[grey > 0].mean() < 120
    assert study.candidates[0].refusal() is None  # DERIVED\\SECONDARY MR is MR


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 0.999])
def test_a_file_that_breaks_off_anywhere_is_refused(one: Callable[..., Path], share: float) -> None:
    path = one()
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(InputError, match="slice.dcm: "):
        pixels(path)


def test_bits_beyond_those_stored_are_no_values(one: Callable[..., Path]) -> None:
    def overlay_bits(dataset: Dataset) -> None:
        dataset.PixelData = (VALUES | 0xF000).tobytes()

    path = one(overlay_bits)
    assert pydicom.dcmread(path).BitsStored == 12
    assert np.array_equal(pixels(path)[0], VALUES)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"PhotometricInterpretation": "RGB"}, "not grey"),
        ({"SamplesPerPixel": 3}, "not grey"),
        ({"BitsAllocated": 32}, "bits stored in 32 allocated"),
        ({"BitsStored": 4, "HighBit": 3}, "4 bits stored"),
        ({"HighBit": 15}, "12 bits stored"),
        ({"Rows": 60_000, "Columns": 60_000}, "60000 x 60000"),
        ({"Rows": 34}, "pixel data"),
        ({"NumberOfFrames": 2_000_000}, "declares 2000000 frames"),
        ({"NumberOfFrames": 7}, "classic MR file declares 7 frames"),
    ],
)
def test_what_the_header_must_not_say(
    one: Callable[..., Path], change: dict[str, object], message: str
) -> None:
    path = one(lambda dataset: [setattr(dataset, *pair) for pair in change.items()])
    with pytest.raises(InputError, match=message):
        (read_header(blob(path)), pixels(path))


@pytest.mark.parametrize("syntax", [JPEG_LS, JPEG_2000])
def test_a_codestream_of_another_size_is_never_decoded(
    one: Callable[..., Path], syntax: str
) -> None:
    path = one(lambda dataset: setattr(dataset, "Rows", 32), syntax=syntax)
    with pytest.raises(InputError, match="a compressed frame of 40 x 33 x 1 in a file of 40 x 32"):
        pixels(path)


def test_sizes_are_read_from_codestreams(one: Callable[..., Path]) -> None:
    from pydicom.encaps import generate_frames

    for syntax, size in ((JPEG_2000, jpeg2000_size), (JPEG_LS, jpeg_size)):
        dataset = pydicom.dcmread(one(syntax=syntax))
        (frame,) = generate_frames(dataset.PixelData, number_of_frames=1)
        declared = size(frame)
        assert declared[:4] == (33, 40, 1, 12)
        with pytest.raises(InputError, match="the pixel data hold"):
            size(frame[:8])


def test_a_deflated_dataset_is_refused_before_it_is_inflated(
    one: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = one()
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    dataset.save_as(path)
    monkeypatch.setattr("zlib.decompress", lambda *_: pytest.fail("inflated"))
    with pytest.raises(InputError, match="the dataset is deflated"):
        read_header(blob(path))


def test_lossy_jpeg_is_refused_with_its_syntax(one: Callable[..., Path]) -> None:
    path = one(
        lambda dataset: setattr(
            dataset.file_meta, "TransferSyntaxUID", pydicom.uid.JPEGBaseline8Bit
        ),
        syntax=RLE,
    )
    with pytest.raises(InputError, match=r"transfer syntax 1\.2\.840\.10008\.1\.2\.4\.50"):
        pixels(path)


@pytest.fixture
def lossless(one: Callable[..., Path]) -> Path:
    """A slice in JPEG Lossless, encoded by DCMTK."""
    encoder = shutil.which("dcmcjpeg")
    if encoder is None:
        pytest.skip("DCMTK's dcmcjpeg, which encodes JPEG Lossless, is not here")
    pytest.importorskip("gdcm", reason="python-gdcm is not installed")
    path = one()
    subprocess.run([encoder, "+e1", path, path], check=True, capture_output=True)
    assert pydicom.dcmread(path).file_meta.TransferSyntaxUID == JPEG_LOSSLESS
    return path


def test_jpeg_lossless_is_decoded_in_the_helper(
    lossless: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "pydicom.pixels.decoders.gdcm._decode_frame", lambda *_: pytest.fail("decoded here")
    )
    assert np.array_equal(pixels(lossless)[0], VALUES)
    both = list(decode_files([read_header(blob(lossless))] * 2))
    assert len(both) == 2
    assert np.array_equal(both[0], both[1])


def test_a_damaged_jpeg_lossless_stream_ends_no_more_than_the_helper(lossless: Path) -> None:
    data = bytearray(lossless.read_bytes())
    start = data.index(b"\xff\xda")
    data[start + 8 : start + 60] = b"\xff" * 52
    lossless.write_bytes(data)
    try:
        found = pixels(lossless)
    except InputError as error:
        assert "slice.dcm" in str(error)  # noqa: PT017 - either is right, a crash is not
    else:
        assert found.shape == (1, 33, 40)


@pytest.mark.parametrize("code", ["import os; os.abort()", "raise SystemExit(3)",
                                  "while True: pass"])  # fmt: skip
def test_a_helper_that_dies_or_hangs_is_told_as_a_refusal_and_replaced(
    one: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    from scanside.readers.dicom import helper

    path = one(syntax=JPEG_LS)
    helper._end()
    answer = "import sys; sys.stdout.buffer.write(bytes(8)); sys.stdout.flush(); "
    with monkeypatch.context() as patch:
        start = subprocess.Popen
        patch.setattr(
            subprocess, "Popen",
            lambda _, **options: start(
                [sys.executable, "-c", answer + "sys.stdin.buffer.read(8)\n" + code], **options
            ),
        )  # fmt: skip
        with pytest.raises(InputError, match="the decoder did not survive this file"):
            pixels(path)
    assert np.array_equal(pixels(path)[0], VALUES)


def test_a_jpeg_ls_stream_that_is_cut_hangs_nobody(one: Callable[..., Path]) -> None:
    from pydicom.encaps import encapsulate, generate_frames

    path = one(syntax=JPEG_LS)
    dataset = pydicom.dcmread(path)
    (frame,) = generate_frames(dataset.PixelData, number_of_frames=1)
    started = time.perf_counter()
    for length in (100, 231, 232, 600):
        dataset.PixelData = encapsulate([frame[:length]])
        dataset.save_as(path)
        with pytest.raises(InputError):
            pixels(path)
    assert time.perf_counter() - started < 60  # CharLS alone would take some minutes


def test_windows_are_read_by_their_function(one: Callable[..., Path]) -> None:
    def linear(dataset: Dataset) -> None:
        dataset.WindowCenter, dataset.WindowWidth = ["100.5", "7"], ["201", "3"]

    def exact(dataset: Dataset) -> None:
        linear(dataset)
        dataset.VOILUTFunction = "LINEAR_EXACT"

    def sigmoid(dataset: Dataset) -> None:
        linear(dataset)
        dataset.VOILUTFunction = "SIGMOID"

    windows = [read_header(blob(one(change))).frames[0].window
               for change in (linear, exact, sigmoid)]  # fmt: skip
    assert windows == [Window(0, 200), Window(0, 201), None]


@pytest.mark.parametrize(
    ("charset", "name"),
    [
        ("ISO_IR 100", "Müller^Jürgen"),
        ("ISO_IR 192", "Ωμέγα^Ψ"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎"),
        (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞"),
        ("GB18030", "Wang^XiaoDong=王^小东"),
        ("NO SUCH SET", "Canary^X"),
    ],
)
def test_any_character_set_reads_without_a_word(
    one: Callable[..., Path], charset: Any, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    def change(dataset: Dataset) -> None:
        dataset.SpecificCharacterSet = "ISO_IR 192" if charset == "NO SUCH SET" else charset
        dataset.PatientName = name
        dataset.SeriesDescription = "FLAIR"

    path = one(change)
    if charset == "NO SUCH SET":
        path.write_bytes(path.read_bytes().replace(b"ISO_IR 192", b"NO SUCH SE"))
    header = read_header(blob(path))
    assert str(header.dataset.get("SeriesDescription")) == "FLAIR"
    assert capfd.readouterr() == ("", "")


def test_without_pydicom_the_message_names_the_extra(
    one: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = one()
    monkeypatch.setitem(__import__("sys").modules, "pydicom", None)
    with pytest.raises(ExtraNotInstalledError, match=r"pip install 'scanside\[dicom\]'"):
        read_header(blob(path))


def test_no_decoder_is_under_the_gpl() -> None:
    with pytest.raises(ModuleNotFoundError):
        __import__("libjpeg")  # pylibjpeg-libjpeg
    for package in ("pydicom", "pylibjpeg", "pylibjpeg-openjpeg", "pyjpegls", "python-gdcm"):
        facts = distribution(package).metadata
        said = " ".join(
            [facts.get("License") or "", facts.get("License-Expression") or "",
             *(facts.get_all("Classifier") or [])]
        )  # fmt: skip
        assert "GPL" not in said.replace("LGPL", "")
    locked = (Path(__file__).parents[3] / "requirements").glob("*.txt")
    assert not any("pylibjpeg-libjpeg" in lock.read_text() for lock in locked)


def test_messages_quote_nothing_of_a_damaged_file(one: Callable[..., Path]) -> None:
    def change(dataset: Dataset) -> None:
        dataset.PatientName = "Canary^Name"
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.UID("1.2.840.10008.1.2.1")

    data = one(change).read_bytes().replace(b"1.2.840.10008.1.2.1\0", b"Canary^Name^in^UID\0\0")
    buffer = io.BytesIO(data)
    path = Path(one()).with_name("other.dcm")
    path.write_bytes(buffer.getvalue())
    with pytest.raises(InputError) as refused:
        (read_header(blob(path)), pixels(path))
    assert "Canary" not in str(refused.value)


@pytest.mark.parametrize("syntax", [None, RLE, JPEG_2000])
def test_a_file_that_was_cut_after_its_header_was_read_is_refused(
    syntax: str | None, one: Callable[..., Path]
) -> None:
    path = one(syntax=syntax)
    header = read_header(blob(path))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match="breaks off"):
        list(decode_files([header]))


def test_pixels_are_not_kept_with_the_header(one: Callable[..., Path]) -> None:
    header = read_header(blob(one()))
    (found,) = decode_files([header])
    assert found.shape == (1, header.rows, header.columns)
    assert "PixelData" not in header.dataset


def _element(group: int, element: int, vr: bytes, value: bytes) -> bytes:
    value += b"\0" * (len(value) % 2)
    return struct.pack("<HH2sH", group, element, vr, len(value)) + value


_ENDLESS = (
    struct.pack("<HH2sHI", 9, 0x1010, b"OB", 0, 0xFFFFFFFF) + b"\xfe\xff\x00\xe0" + bytes(200)
)


def test_a_warning_of_another_thread_refuses_no_file(
    one: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = one()
    read = pydicom.dcmread

    def disturbed(*args: object, **options: object) -> object:
        other = threading.Thread(
            target=read_dataset, args=(io.BytesIO(_ENDLESS), False, True), daemon=True
        )
        other.start()
        other.join()
        return read(*args, **options)

    monkeypatch.setattr(pydicom, "dcmread", disturbed)
    assert read_header(blob(path)).rows == 33


@pytest.mark.parametrize("where", ["meta", "command", "dataset"])
def test_a_value_without_an_end_is_told_as_a_file_that_breaks_off(
    tmp_path: Path, where: str
) -> None:
    group = {"meta": 2, "command": 0, "dataset": 9}[where]
    sop_class = _element(8, 0x16, b"UI", b"1.2.840.10008.5.1.4.1.1.88.11")
    meta = _element(2, 0x10, b"UI", b"1.2.840.10008.1.2.1")
    endless = struct.pack("<H", group) + _ENDLESS[2:]
    if where == "command":
        endless = struct.pack("<HHI", 0, 0x1011, 0xFFFFFFFF) + _ENDLESS[12:]
    order = (meta, endless, sop_class) if where != "dataset" else (meta, sop_class, endless)
    path = tmp_path / "slice.dcm"
    path.write_bytes(bytes(128) + b"DICM" + b"".join(order))
    with pytest.raises(InputError, match="breaks off|command of a message"):
        read_header(blob(path))


@pytest.mark.parametrize("form", ["implicit", "twice", "UN", "usual", "no such VR"])
def test_no_form_of_the_meta_information_hides_a_deflated_dataset(
    tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    uid = b"1.2.840.10008.1.2.1.99"
    # Its second group length has a VR that there is not, which pydicom refuses or, as the length
    # of the first is 0x44C55 then, reads again as implicit.
    hidden = (
        _element(2, 0, b"UL", bytes(4))
        + _element(2, 0, b"ZZ", b"")
        + _element(2, 0x10, b"UI", b"1.2.840.10008.1.2.1")
    )
    meta = {
        "usual": _element(2, 0, b"UL", bytes(4)) + _element(2, 0x10, b"UI", uid),
        "no such VR": hidden.ljust(8 + 0x44C55, b"\x09")
        + struct.pack("<HHI", 2, 0x10, len(uid))
        + uid,
        "implicit": struct.pack("<HHI", 2, 0x10, len(uid)) + uid,
        "twice": _element(2, 0x10, b"UI", b"1.2.840.10008.1.2.1") + _element(2, 0x10, b"UI", uid),
        "UN": struct.pack("<HH2sHI", 2, 0x10, b"UN", 0, len(uid)) + uid,
    }[form]
    path = tmp_path / "slice.dcm"
    path.write_bytes(bytes(128) + b"DICM" + meta + zlib.compress(bytes(1000))[2:-4])
    monkeypatch.setattr("zlib.decompress", lambda *_: pytest.fail("inflated"))
    with pytest.raises(
        InputError, match=r"the dataset is deflated|cannot be read \(NotImplementedError"
    ):
        read_header(blob(path))


def test_a_file_whose_answer_was_not_waited_for_leaves_nothing_to_the_next(
    one: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from scanside.readers.dicom import helper

    data = one(syntax=JPEG_LS).read_bytes()
    helper.decode_in_helper(data, "first")
    with monkeypatch.context() as patch:
        patch.setattr(helper._Helper, "_receive", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            helper.decode_in_helper(data, "interrupted")
    assert not helper._RUNNING
    other = one(values=VALUES[::-1].copy(), syntax=JPEG_LS).read_bytes()
    assert np.array_equal(helper.decode_in_helper(other, "next")[0], VALUES[::-1])


def _interrupt(*_: object) -> bytes:
    raise KeyboardInterrupt


def test_a_helper_that_does_not_start_is_not_the_file_s_fault(
    one: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from scanside.readers.dicom import helper

    data = one(syntax=JPEG_LS).read_bytes()
    helper._end()
    start, started = subprocess.Popen, []

    def failing(_: object, **options: Any) -> subprocess.Popen[bytes]:
        started.append(start([sys.executable, "-c", "import time; time.sleep(60)"], **options))
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", failing)
    monkeypatch.setattr(helper, "_START_SECONDS", 0.1)
    with pytest.raises(InternalError, match="did not start"):
        helper.decode_in_helper(data, "a")
    assert started[0].poll() is not None


def _without_meta(path: Path, *, implicit: bool, little: bool) -> bytes:
    """Return a file's dataset alone, as old archives hold it."""
    from pydicom.filebase import DicomBytesIO
    from pydicom.filewriter import write_dataset

    written = DicomBytesIO()
    written.is_implicit_VR, written.is_little_endian = implicit, little
    dataset = pydicom.dcmread(path)
    write_dataset(written, pydicom.Dataset({each.tag: each for each in dataset}))
    return written.getvalue()


BARE: dict[str, tuple[Callable[[Path], bytes], str]] = {
    "without preamble": (lambda path: path.read_bytes()[132:], "printf DICM"),
    "without its 128 bytes": (lambda path: path.read_bytes()[128:], "put its 128 bytes"),
    "implicit": (lambda path: _without_meta(path, implicit=True, little=True), "dcmconv"),
    "explicit": (lambda path: _without_meta(path, implicit=False, little=True), "dcmconv"),
    "big endian": (lambda path: _without_meta(path, implicit=False, little=False), "dcmconv"),
}


@pytest.mark.parametrize("form", BARE)
def test_dicom_without_a_preamble_is_recognised_and_refused_with_the_remedy(
    one: Callable[..., Path], form: str
) -> None:
    path = one()
    make, remedy = BARE[form]
    path.write_bytes(make(path))
    assert describe(path.read_bytes()[:HEAD]) == "DICOM"
    with pytest.raises(InputError, match="DICOM without the preamble of a file") as caught:
        read_header(blob(path))
    assert remedy in caught.value.remedy


@pytest.mark.parametrize("form", ["without preamble", "without its 128 bytes"])
def test_the_remedy_gives_the_file_back(one: Callable[..., Path], form: str) -> None:
    path = one()
    whole = path.read_bytes()
    path.write_bytes(BARE[form][0](path))
    with pytest.raises(InputError) as caught:
        read_header(blob(path))
    command = caught.value.remedy.partition(": ")[2]
    made = path.with_name("made.dcm")
    command = command.replace("cat IN", f"cat '{path}'").replace("OUT", f"'{made}'")
    subprocess.run(["/bin/sh", "-c", command], check=True)
    assert made.read_bytes() == bytes(128) + whole[128:]


def test_a_slice_without_a_preamble_is_missed_in_its_study(tmp_path: Path) -> None:
    studies.write(tmp_path, studies.slices(4))
    last = max(tmp_path.glob("series_3/*"))
    last.write_bytes(last.read_bytes()[132:])
    assert "unreadable files" in str(studies.select(tmp_path).error)


@given(st.binary(max_size=HEAD))
def test_other_bytes_are_no_dicom(head: bytes) -> None:
    assert describe(head) != "DICOM"
    # Elements that name another SOP Class than one of the standard, or none.
    other = struct.pack("<HH2sH14s", 8, 0x16, b"UI", 14, b"1.2.840.10009.")
    for start in (b"", b"DICM", other, other[:-1], other.replace(b"10009", b"1000")):
        assert describe((start + head)[:HEAD]) != "DICOM"
