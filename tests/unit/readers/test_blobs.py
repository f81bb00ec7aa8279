"""Files in archives: found by content, within limits."""

from __future__ import annotations

import gzip
import io
import zipfile
from typing import TYPE_CHECKING

import pytest

from scanside.errors import InputError
from scanside.readers import blobs
from scanside.readers.blobs import content_kind, members

if TYPE_CHECKING:
    from pathlib import Path

DICOM = bytes(128) + b"DICM" + bytes(range(200))
NIFTI = bytes(344) + b"n+1\0" + bytes(100)


def zipped(files: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (DICOM, "DICOM"),
        (NIFTI, "NIfTI"),
        (gzip.compress(NIFTI), "NIfTI"),
        (gzip.compress(b"text"), "gzip (a compressed NIfTI?)"),
        (b"\x1f\x8bdamaged", "gzip (a compressed NIfTI?)"),
        (zipped({"a": b""}), "zip"),
        (b"", "empty"),
    ],
)
def test_content_tells_the_kind(head: bytes, kind: str) -> None:
    assert content_kind(head[:512]) == kind


def test_members_of_archives_in_archives_are_found_and_read(tmp_path: Path) -> None:
    inner = zipped({"deep/b": NIFTI, "readme.txt": b"hello"})
    path = tmp_path / "outer.zip"
    path.write_bytes(zipped({"a": DICOM, "folder/inner.bin": inner, "empty/": b""}))
    found = {blob.member: (blob, kind) for blob, kind in members(path)}
    assert {member: kind for member, (_, kind) in found.items()} == {
        ("a",): "DICOM",
        ("folder/inner.bin", "deep/b"): "NIfTI",
        ("folder/inner.bin", "readme.txt"): "text",
    }
    blob = found["folder/inner.bin", "deep/b"][0]
    assert blob.source == f"{path}/folder/inner.bin/deep/b"
    assert blob.read() == NIFTI


def test_a_bomb_is_refused_for_its_ratio(tmp_path: Path) -> None:
    path = tmp_path / "bomb.zip"
    path.write_bytes(zipped({"zeros": bytes(8 * 2**20)}))
    with pytest.raises(InputError, match="unpacks to more than a study has"):
        list(members(path))


def test_archives_that_lie_too_deep_are_refused(tmp_path: Path) -> None:
    content = DICOM
    for level in range(5):
        content = zipped({f"level{level}.zip": content})
    path = tmp_path / "deep.zip"
    path.write_bytes(content)
    with pytest.raises(InputError, match="more than 3 deep"):
        list(members(path))


def test_too_many_members_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blobs, "_MAX_MEMBERS", 3)
    path = tmp_path / "many.zip"
    path.write_bytes(zipped({str(n): DICOM for n in range(4)}))
    with pytest.raises(InputError, match="up to 3 files"):
        list(members(path))


def test_a_declared_size_is_a_claim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blobs, "MAX_STUDY_FILE_BYTES", 1000)
    path = tmp_path / "a.zip"
    path.write_bytes(zipped({"a": DICOM + bytes(range(256)) * 10}))
    (blob, _), = members(path)  # fmt: skip
    with pytest.raises(InputError, match="unpacks to more than 1,000 bytes"):
        blob.read()


@pytest.mark.parametrize("cut", [30, 200, -10])
def test_damaged_archives_are_refused(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(zipped({"a": DICOM, "b": NIFTI})[:cut])
    with pytest.raises(InputError, match="the archive cannot be read"):
        list(members(path))


def test_an_encrypted_archive_is_refused(tmp_path: Path) -> None:
    content = bytearray(zipped({"a": DICOM}))
    content[6] |= 1  # the flag in the local header, and in the directory
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path = tmp_path / "a.zip"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"cannot be read \(RuntimeError\)"):
        list(members(path))


@pytest.mark.parametrize("level", ["outer", "inner"])
def test_an_archive_with_a_name_twice_is_refused(tmp_path: Path, level: str) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("IM0001.dcm", DICOM)
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("IM0001.dcm", DICOM[::-1])
    content = buffer.getvalue()
    path = tmp_path / "a.zip"
    path.write_bytes(content if level == "outer" else zipped({"a.zip": content}))
    with pytest.raises(InputError, match="several files of one name"):
        list(members(path))


def test_gzip_of_several_members_unpacks_whole() -> None:
    parts = [NIFTI, b"", bytes(range(256)) * 1000, DICOM]
    packed = b"".join(gzip.compress(part) for part in parts)
    assert blobs.unzip_limited(packed, "a") == b"".join(parts)
    assert blobs.unzip_limited(packed + bytes(100_000), "a") == b"".join(parts)
    with pytest.raises(InputError, match="breaks off"):
        blobs.unzip_limited(packed[:-1], "a")
    with pytest.raises(InputError, match="cannot be read"):
        blobs.unzip_limited(packed + b"rest", "a")


def test_gzip_is_limited_over_all_members(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = gzip.compress(bytes(600)) * 2
    monkeypatch.setattr(blobs, "MAX_STUDY_FILE_BYTES", 1000)
    with pytest.raises(InputError, match="unpacks to more than 1,000 bytes"):
        blobs.unzip_limited(packed, "a")
    monkeypatch.setattr(blobs, "_MAX_GZIP_MEMBERS", 3)
    with pytest.raises(InputError, match="more than 3 gzip members"):
        blobs.unzip_limited(gzip.compress(b"") * 4, "a")
