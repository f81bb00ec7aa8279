from __future__ import annotations

import os
import shutil
import struct
import zlib
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from scanside.errors import InputError
from scanside.evaluation.dataset import DatasetSlice, index_dataset, load_image, load_mask

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from scanside.evaluation.dataset import Dataset

    Writer = Callable[..., Path]

TWO = {"P_1": [0, 5, 900, 0], "P_2": [0, 0, 12]}


def test_slices_are_ordered_by_number_and_not_by_text(write_dataset: Writer) -> None:
    dataset = index_dataset(write_dataset({"A": [0] * 11 + [3]}))
    assert [item.number for item in dataset.slices] == list(range(1, 13))
    assert dataset.slices[11].tumor_px == 3
    assert dataset.slices[11].positive
    assert not dataset.slices[10].positive


def test_tif_webp_and_png_layouts_hold_the_same_slices(write_dataset: Writer) -> None:
    sets = [index_dataset(write_dataset(TWO, suffix=s, name=s[1:])) for s in (".tif", ".png")]
    tif, png = sets
    assert [s[:2] + s[4:] for s in tif.slices] == [s[:2] + s[4:] for s in png.slices]
    assert tif.sha256 == png.sha256
    assert tif.slices[0].mask is not None
    assert png.slices[0].mask is None
    assert not load_mask(png.slices[0]).any()


def test_the_parent_of_kaggle_3m_is_accepted(write_dataset: Writer) -> None:
    folder = write_dataset(TWO, name="download/kaggle_3m")
    assert index_dataset(folder.parent) == index_dataset(folder)


def test_channels_are_those_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "rgb.png"
    cv2.imwrite(str(path), np.full((32, 32, 3), (3, 2, 1), np.uint8))  # OpenCV writes BGR
    image = load_image(DatasetSlice("p", 1, path, None, 0))
    assert image[0, 0].tolist() == [1, 2, 3]
    assert image.flags.c_contiguous


@pytest.mark.parametrize("high", [1, 255])
def test_masks_of_0_and_1_or_255(tmp_path: Path, high: int) -> None:
    mask = np.zeros((32, 32), np.uint8)
    mask[3:5, 7] = high
    path = tmp_path / "m.png"
    cv2.imwrite(str(path), mask)
    loaded = load_mask(DatasetSlice("p", 1, path, path, 2))
    assert np.array_equal(loaded, mask // high)


def test_hash_does_not_depend_on_the_place_or_on_other_files(write_dataset: Writer) -> None:
    folder = write_dataset(TWO)
    before = index_dataset(folder)
    moved = folder.parent / "elsewhere"
    shutil.copytree(folder, moved)
    (moved / "data.csv").write_text("x")
    (moved / "P_1" / "Thumbs.db").write_text("x")
    (moved / ".git").mkdir()
    assert index_dataset(moved).sha256 == before.sha256


@pytest.mark.parametrize("name", ["P_1/P_1_1.tif", "P_1/P_1_2_mask.tif"])
def test_hash_changes_with_any_pixel(write_dataset: Writer, name: str) -> None:
    folder = write_dataset(TWO)
    before = index_dataset(folder).sha256
    pixels = cv2.imread(str(folder / name), cv2.IMREAD_UNCHANGED)
    pixels[20, 20] = 255 - pixels[20, 20]
    cv2.imwrite(str(folder / name), pixels)
    assert index_dataset(folder).sha256 != before


def test_progress_counts_every_slice(write_dataset: Writer) -> None:
    seen: list[tuple[int, int]] = []
    index_dataset(write_dataset(TWO), progress=lambda done, total: seen.append((done, total)))
    assert seen == [(count, 7) for count in range(1, 8)]


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-300])


def _grey(path: Path) -> None:
    cv2.imwrite(str(path), np.zeros((40, 48), np.uint8))


def _deep(path: Path) -> None:
    cv2.imwrite(str(path), np.zeros((40, 48, 3), np.uint16))


def _pages(path: Path) -> None:
    page = np.zeros((40, 48, 3), np.uint8)
    cv2.imwritemulti(str(path), [page, page])


def _grades(path: Path) -> None:
    cv2.imwrite(str(path), np.arange(40 * 48, dtype=np.uint8).reshape(40, 48))


def _other_size(path: Path) -> None:
    cv2.imwrite(str(path), np.zeros((48, 40), np.uint8))


def _tiny(path: Path) -> None:
    cv2.imwrite(str(path), np.zeros((8, 8, 3), np.uint8))


def _as_png(path: Path) -> bytes:
    """Return the picture as PNG: what a file is, its content says and not its name."""
    return cv2.imencode(".png", cv2.imread(str(path), cv2.IMREAD_UNCHANGED))[1].tobytes()


def _without_end(path: Path) -> None:
    path.write_bytes(_as_png(path)[:-12])


def _flipped_bit(path: Path) -> None:
    data = bytearray(_as_png(path))
    data[-20] ^= 1  # in the last chunk that holds pixels
    path.write_bytes(data)


def _lying(path: Path) -> None:
    """Add an EXIF chunk that says that the picture is to be turned."""
    data = _as_png(path)
    exif = b"eXIf" + struct.pack("<2sHIHHHIHHI", b"II", 42, 8, 1, 274, 3, 1, 6, 0, 0)
    chunk = struct.pack(">I", len(exif) - 4) + exif + struct.pack(">I", zlib.crc32(exif))
    path.write_bytes(data[:33] + chunk + data[33:])


DAMAGES = {
    "truncated": ("P_1/P_1_1.tif", _truncate, "damaged or incomplete"),
    "empty file": ("P_1/P_1_1.tif", lambda p: p.write_bytes(b""), "but empty"),
    "a folder": ("P_1/P_1_1.tif", lambda p: (p.unlink(), p.mkdir()), "not a regular file"),
    "PNG without its end": ("P_1/P_1_1.tif", _without_end, "damaged or incomplete"),
    "PNG with a flipped bit": ("P_1/P_1_1.tif", _flipped_bit, "checksum"),
    "to be turned": ("P_1/P_1_1.tif", _lying, "turned or mirrored"),
    "mask without its end": ("P_1/P_1_3_mask.tif", _without_end, "damaged or incomplete"),
    "mask with a flipped bit": ("P_1/P_1_3_mask.tif", _flipped_bit, "checksum"),
    "mask to be turned": ("P_1/P_1_3_mask.tif", _lying, "turned or mirrored"),
    "grey": ("P_1/P_1_1.tif", _grey, "three channels"),
    "16 bits": ("P_1/P_1_1.tif", _deep, "uint16"),
    "pages": ("P_1/P_1_1.tif", _pages, "several pages"),
    "tiny": ("P_1/P_1_1.tif", _tiny, "8 x 8"),
    "mask truncated": ("P_1/P_1_3_mask.tif", _truncate, "P_1_3_mask.tif"),
    "mask not binary": ("P_1/P_1_3_mask.tif", _grades, "0, 1, 2, 3, 4, ..."),
    "mask of 3 channels": (
        "P_1/P_1_3_mask.tif",
        lambda p: cv2.imwrite(str(p), np.zeros((40, 48, 3), np.uint8)),
        "one 8-bit channel",
    ),
    "mask of another size": ("P_1/P_1_3_mask.tif", _other_size, "is 40 x 48, the image 48 x 40"),
    "mask lost": ("P_1/P_1_3_mask.tif", lambda p: p.unlink(), "has no mask P_1_3_mask.tif"),
    "mask without image": ("P_1/P_1_3.tif", lambda p: p.unlink(), "mask without an image"),
    "twice": (
        "P_1/P_1_3.tif",
        lambda p: cv2.imwrite(str(p.with_suffix(".png")), cv2.imread(str(p))),
        "slice 3 twice: P_1_3.png, P_1_3.tif",
    ),
    "twice by number": (
        "P_1/P_1_3.tif",
        lambda p: shutil.copy(p, p.with_name("P_1_03.tif")),
        "slice 3 twice",
    ),
    "another patient's name": (
        "P_1/P_1_3.tif",
        lambda p: p.rename(p.with_name("P_9_3.tif")),
        "is not named P_1_<n>.tif",
    ),
    "patient without slices": (
        "P_3",
        lambda p: p.mkdir(),
        "P_3 holds no slice",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_named_and_refused_or_left_out(
    write_dataset: Writer, damage: str, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = write_dataset(TWO)
    name, harm, words = DAMAGES[damage]
    harm(folder / name)
    with pytest.raises(InputError, match="problem") as caught:
        index_dataset(folder)
    assert words in str(caught.value)
    kept = index_dataset(folder, keep_going=True)
    assert any(words in problem for problem in kept.problems)
    number = {"P_1/P_1_1": 1, "P_1/P_1_3": 3}.get(name[:9])
    assert ("P_1", number) not in {(item.patient, item.number) for item in kept.slices}
    assert len(kept.slices) == (7 if damage == "patient without slices" else 6)
    capfd.readouterr()  # OpenCV's own words about the damage


def test_every_problem_is_counted_and_the_first_are_named(write_dataset: Writer) -> None:
    folder = write_dataset({"A": [1, *[0] * 30]})
    for number in range(2, 32):
        (folder / "A" / f"A_{number}_mask.tif").unlink()
    with pytest.raises(InputError) as caught:
        index_dataset(folder)
    # 30 lost masks, and what is left is positive only.
    assert "31 problems" in caught.value.given
    assert caught.value.places[-1] == "and 11 more"


@pytest.mark.parametrize(("areas", "words"), [([0, 0], "none of 2"), ([4, 4], "all 2")])
def test_one_class_alone_is_refused(write_dataset: Writer, areas: list[int], words: str) -> None:
    folder = write_dataset({"A": areas})
    with pytest.raises(InputError, match=words):
        index_dataset(folder)
    assert any(words in problem for problem in index_dataset(folder, keep_going=True).problems)


def test_the_same_slices_under_two_patients_are_refused(write_dataset: Writer) -> None:
    folder = write_dataset(TWO)
    for path in (folder / "P_1").iterdir():
        copy = folder / "Q" / path.name.replace("P_1", "Q")
        copy.parent.mkdir(exist_ok=True)
        shutil.copy(path, copy)
    with pytest.raises(InputError, match="P_1 and Q have 4 identical slices"):
        index_dataset(folder)


def test_the_same_slice_with_another_mask_is_the_same_slice(write_dataset: Writer) -> None:
    folder = write_dataset(TWO)
    shutil.copy(folder / "P_1/P_1_1.tif", folder / "P_2/P_2_1.tif")
    mask = np.zeros((40, 48), np.uint8)
    mask[3:5, 7] = 255
    cv2.imwrite(str(folder / "P_2/P_2_1_mask.tif"), mask)
    with pytest.raises(InputError, match="P_1 and P_2 have 1 identical slices"):
        index_dataset(folder)


def test_blank_slices_may_be_alike(write_dataset: Writer) -> None:
    folder = write_dataset(TWO)
    for name in ("P_1/P_1_1.tif", "P_2/P_2_1.tif"):
        cv2.imwrite(str(folder / name), np.zeros((40, 48, 3), np.uint8))
    assert index_dataset(folder).problems == ()


@pytest.mark.parametrize("keep_going", [False, True])
def test_no_dataset_is_refused_whatever_was_asked(tmp_path: Path, keep_going: bool) -> None:  # noqa: FBT001
    with pytest.raises(InputError, match="could not be listed"):
        index_dataset(tmp_path / "nowhere", keep_going=keep_going)
    with pytest.raises(InputError, match="holds no folder"):
        index_dataset(tmp_path, keep_going=keep_going)
    (tmp_path / "A").mkdir()
    with pytest.raises(InputError, match="no slice is left"):
        index_dataset(tmp_path, keep_going=keep_going)


def test_real_data(lgg: Dataset) -> None:
    assert len(lgg.patients) == 88
    assert len(lgg.slices) == 2986
    assert sum(item.positive for item in lgg.slices) == 1049
    assert lgg.problems == ()
    assert len(lgg.of(lgg.patients[:1])) == 23


def test_real_data_in_the_published_layout_is_the_same(data_root: Path, tmp_path: Path) -> None:
    source = data_root / "lgg"
    for name in ("TCGA_CS_4941_19960909", "TCGA_DU_7019_19940908"):
        (tmp_path / "webp" / name).mkdir(parents=True)
        (tmp_path / "kaggle_3m" / name).mkdir(parents=True)
        for path in (source / name).glob("*.webp"):
            image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
            mask_path = path.with_name(f"{path.stem}_mask.png")
            mask = np.zeros((256, 256), np.uint8)
            shutil.copy(path, tmp_path / "webp" / name)
            if mask_path.exists():
                shutil.copy(mask_path, tmp_path / "webp" / name)
                mask = cv2.imread(str(mask_path), cv2.IMREAD_GRAYSCALE)
            target = tmp_path / "kaggle_3m" / name
            cv2.imwrite(str(target / f"{path.stem}.tif"), image)
            cv2.imwrite(str(target / f"{path.stem}_mask.tif"), mask)
    webp, tif = index_dataset(tmp_path / "webp"), index_dataset(tmp_path)
    assert webp.sha256 == tif.sha256
    for one, other in zip(webp.slices, tif.slices, strict=True):
        assert (one.patient, one.number, one.tumor_px) == other[:2] + other[4:]
        assert np.array_equal(load_image(one), load_image(other))
        assert np.array_equal(load_mask(one), load_mask(other))


def test_a_patient_whose_name_is_no_text_is_named(write_dataset: Writer) -> None:
    folder = write_dataset(TWO)
    (folder / os.fsdecode(b"pat\xfe")).mkdir()
    with pytest.raises(InputError, match=r"- pat\\xfe is not UTF-8"):
        index_dataset(folder)
    assert len(index_dataset(folder, keep_going=True).problems) == 1
