"""Phantoms: the same everywhere, exact masks, both classes, plausible heads, honest files."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from scanside.errors import OutputError, UsageError
from scanside_training.cli.phantom import phantom
from scanside_training.phantom import PhantomSlice, generate_patient, write_dataset
from scanside_training.phantom.anatomy import render_anatomy
from scanside_training.phantom.fields import draw_lattice, sample
from scanside_training.phantom.head import draw_head
from scanside_training.phantom.lesion import draw_lesion, paint_lesion

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

FLAIR = 1
BLUR_REACH = 6
"""Pixels by which motion, blur and resampling can carry a change beyond the mask."""


@pytest.fixture(scope="module")
def patients() -> list[tuple[PhantomSlice, ...]]:
    return [generate_patient(seed, slices=20) for seed in range(1, 6)]


def rng(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def head_of(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The filled outline of the head."""
    bright = (cv2.GaussianBlur(image.max(axis=2), (7, 7), 0) > 18).astype(np.uint8)
    outlines, _ = cv2.findContours(bright, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled: NDArray[np.uint8] = np.zeros(bright.shape, np.uint8)
    cv2.drawContours(filled, [max(outlines, key=cv2.contourArea)], -1, 1, -1)
    return filled


class TestStack:
    def test_types_names_and_numbers(self, patients: list[tuple[PhantomSlice, ...]]) -> None:
        stack = patients[4]
        assert [piece.number for piece in stack] == list(range(1, 21))
        for piece in stack:
            assert piece.patient == "PHANTOM_0005"
            assert piece.image.shape == (256, 256, 3)
            assert piece.mask.shape == (256, 256)
            assert piece.image.dtype == piece.mask.dtype == np.uint8
            assert piece.image.flags.c_contiguous
            assert set(np.unique(piece.mask)) <= {0, 1}

    def test_the_same_seed_gives_the_same_stack(self) -> None:
        first, second = (generate_patient(5, slices=6) for _ in range(2))
        for one, other in zip(first, second, strict=True):
            np.testing.assert_array_equal(one.image, other.image)
            np.testing.assert_array_equal(one.mask, other.mask)

    def test_another_process_gives_the_same_stack(self) -> None:
        code = (
            "import zlib; from scanside_training.phantom import generate_patient;"
            "print([zlib.crc32(p.image.tobytes() + p.mask.tobytes())"
            " for p in generate_patient(5, slices=4, side=64)])"
        )
        runs = {
            subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout
            for _ in range(2)
        }
        assert len(runs) == 1

    def test_seeds_differ(self, patients: list[tuple[PhantomSlice, ...]]) -> None:
        middles = [stack[10].image.tobytes() for stack in patients]
        assert len(set(middles)) == len(middles)

    @settings(max_examples=25, deadline=None)
    @given(seed=st.integers(0, 9999), slices=st.integers(4, 12))
    def test_every_patient_has_both_classes(self, seed: int, slices: int) -> None:
        positive = [bool(p.mask.any()) for p in generate_patient(seed, slices=slices, side=64)]
        assert any(positive)
        assert not all(positive)

    @pytest.mark.parametrize("side", [64, 200, 384])
    def test_the_side_changes_the_sampling_and_not_the_head(self, side: int) -> None:
        usual, other = (generate_patient(3, slices=5, side=s)[2] for s in (256, side))
        assert other.image.shape == (side, side, 3)
        shares = [head_of(piece.image).mean() for piece in (usual, other)]
        assert shares[0] == pytest.approx(shares[1], abs=0.03)


class TestLesion:
    def test_without_it_only_pixels_by_the_mask_change(self) -> None:
        changed_somewhere = False
        with_lesion = generate_patient(2, slices=12)
        without = generate_patient(2, slices=12, lesion=False)
        for one, other in zip(with_lesion, without, strict=True):
            assert not other.mask.any()
            changed = (one.image != other.image).any(axis=2)
            reach = cv2.dilate(one.mask, np.ones((2 * BLUR_REACH + 1,) * 2, np.uint8))
            # The faint ghost repeats the lesion a third of the slice further on.
            allowed = reach.astype(bool) | np.roll(reach, 256 // 3, axis=0).astype(bool)
            assert not (changed & ~allowed).any()
            changed_somewhere |= bool(changed.any())
        assert changed_somewhere

    @pytest.mark.parametrize("seed", range(6))
    def test_the_mask_is_the_support_that_was_painted(self, seed: int) -> None:
        head = draw_head(rng(seed), 256)
        lesion = draw_lesion(rng(seed + 100), head, [0.4, 0.55, 0.7])
        height = lesion.centre[2]
        plain, painted = render_anatomy(head, height), render_anatomy(head, height)
        mask = paint_lesion(lesion, head, painted, height).astype(bool)
        changed = (plain.image != painted.image).any(axis=0)
        assert mask.sum() > 100
        assert not changed[~mask].any()
        assert changed[mask].mean() > 0.99
        assert plain.brain_depth[mask].min() > 0
        assert plain.ventricle_distance[mask].min() > 0

    def test_it_is_one_body_through_neighbouring_slices(
        self, patients: list[tuple[PhantomSlice, ...]]
    ) -> None:
        for stack in patients:
            volume = np.stack([piece.mask for piece in stack]).astype(bool)
            areas = volume.sum(axis=(1, 2))
            found = np.flatnonzero(areas > 150)
            np.testing.assert_array_equal(np.diff(found), 1)
            for low, high in pairwise(found):
                assert (volume[low] & volume[high]).any()

    def test_it_is_bright_in_flair_and_darker_before_contrast(
        self, patients: list[tuple[PhantomSlice, ...]]
    ) -> None:
        ratios = []
        for stack in patients:
            piece = max(stack, key=lambda p: int(p.mask.sum()))
            inside = piece.mask.astype(bool)
            wide = cv2.dilate(piece.mask, np.ones((15, 15), np.uint8)).astype(bool)
            near = cv2.dilate(piece.mask, np.ones((5, 5), np.uint8)).astype(bool)
            around = np.median(piece.image[wide & ~near], axis=0)
            ratios.append(np.median(piece.image[inside], axis=0) / around)
        pre, flair, _ = np.median(ratios, axis=0)
        # Real lesions: 1.54 (1.34 to 1.78) in FLAIR, 0.94 (0.83 to 1.02) before contrast.
        assert 1.3 < flair < 1.85
        assert 0.75 < pre < 1.05


class TestPlausibility:
    """Ranges around the figures of real slices (5th to 95th percentile of patients)."""

    def test_grey_levels(self, patients: list[tuple[PhantomSlice, ...]]) -> None:
        for stack in patients:
            piece = stack[11]
            head = head_of(piece.image)
            depth = cv2.distanceTransform(head, cv2.DIST_L2, 5)
            brain = (depth > 24) & (piece.mask == 0)
            rim = (depth > 1) & (depth < 12)
            surround = cv2.dilate(head, np.ones((9, 9), np.uint8)) == 0
            for channel in range(3):
                grey = piece.image[..., channel]
                assert grey[surround].mean() < 6
                assert 28 < np.median(grey[brain]) < 105
                assert np.percentile(grey[rim], 95) > 1.2 * np.median(grey[brain])

    def test_fluid_is_dark_in_flair(self) -> None:
        head = draw_head(rng(0), 256)
        slice_ = render_anatomy(head, 0.6)
        fluid = slice_.image[FLAIR][slice_.ventricle_distance < -1]
        brain = slice_.image[FLAIR][slice_.brain_depth > 20]
        assert len(fluid) > 50
        assert np.median(fluid) < 0.4 * np.median(brain)

    def test_head_size_and_taper(self, patients: list[tuple[PhantomSlice, ...]]) -> None:
        for stack in patients:
            areas = [float(head_of(p.image).mean()) for p in (stack[10], stack[17])]
            assert 0.3 < areas[0] < 0.7
            assert areas[1] < areas[0]
            assert (stack[-1].image.max(axis=2) > 25).mean() < 0.25

    def test_share_and_area_of_lesions(self) -> None:
        # At a quarter of the side, which is faster: a pixel counts for sixteen.
        stacks = [generate_patient(seed, slices=16, side=64) for seed in range(20, 38)]
        areas = np.array([16 * int(p.mask.sum()) for stack in stacks for p in stack])
        assert 0.25 < (areas > 0).mean() < 0.45
        assert 1000 < np.median(areas[areas > 0]) < 2400
        assert areas.max() < 9000

    def test_noise_is_continuous_in_height(self) -> None:
        lattice = draw_lattice(rng(1), 5, 8)
        steps = [
            float(np.abs(sample(lattice, h + 0.01, 64) - sample(lattice, h, 64)).max())
            for h in np.linspace(0, 0.99, 34)
        ]
        assert 0 < max(steps) < 0.5


class TestArguments:
    @pytest.mark.parametrize(
        ("name", "arguments"),
        [
            ("seed", {"seed": -1}),
            ("seed", {"seed": 10_000}),
            ("seed", {"seed": True}),
            ("slices", {"seed": 1, "slices": 3}),
            ("slices", {"seed": 1, "slices": 2.5}),
            ("side", {"seed": 1, "side": 32}),
        ],
    )
    def test_out_of_range(self, name: str, arguments: dict[str, Any]) -> None:
        with pytest.raises(UsageError, match=f"^{name} is .*accepted: a whole number"):
            generate_patient(**arguments)

    def test_seeds_must_not_run_out(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="seed is 9999"):
            write_dataset(tmp_path / "d", seed=9999, patients=2, slices=4)
        assert not (tmp_path / "d").exists()


class TestDataset:
    def test_files_hold_the_slices(self, tmp_path: Path) -> None:
        positive = write_dataset(tmp_path / "new" / "d", seed=1, patients=2, slices=5)
        folder = tmp_path / "new" / "d"
        assert sorted(p.name for p in folder.iterdir()) == ["PHANTOM_0001", "PHANTOM_0002"]
        expected = set()
        for piece in [*generate_patient(1, slices=5), *generate_patient(2, slices=5)]:
            stem = folder / piece.patient / f"{piece.patient}_{piece.number}"
            pixels = cv2.imread(f"{stem}.png", cv2.IMREAD_UNCHANGED)
            assert pixels is not None
            np.testing.assert_array_equal(pixels[..., ::-1], piece.image)
            expected.add(f"{stem}.png")
            if piece.mask.any():
                mask = cv2.imread(f"{stem}_mask.png", cv2.IMREAD_UNCHANGED)
                np.testing.assert_array_equal(mask, piece.mask * 255)
                expected.add(f"{stem}_mask.png")
        assert {str(p) for p in folder.rglob("*") if p.is_file()} == expected
        assert positive == sum("_mask" in name for name in expected)

    def test_a_folder_with_files_is_refused_and_left_alone(self, tmp_path: Path) -> None:
        (tmp_path / "mine.txt").write_text("mine")
        with pytest.raises(OutputError, match=r"is not empty.*name another folder"):
            write_dataset(tmp_path, seed=1, patients=1, slices=4)
        assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]

    def test_a_file_in_the_way_is_an_output_error(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("x")
        with pytest.raises(OutputError, match="could not write"):
            write_dataset(tmp_path / "file" / "d", seed=1, patients=1, slices=4)


class TestCommand:
    def test_it_says_that_they_are_no_patients(self, tmp_path: Path) -> None:
        out = tmp_path / "d"
        result = CliRunner().invoke(
            phantom, [str(out), "--patients", "1", "--slices", "4", "--seed", "3"]
        )
        assert result.exit_code == 0
        assert result.stdout == ""
        assert "1 phantom, 4 slices" in result.stderr
        assert "not patients" in result.stderr
        assert len(list(out.glob("PHANTOM_0003/PHANTOM_0003_?.png"))) == 4

    def test_help_needs_no_training_stack(self) -> None:
        code = (
            "import sys; from scanside_training.cli.phantom import phantom;"
            "phantom.main(['--help'], standalone_mode=False);"
            "sys.exit(bool({'tensorflow', 'keras', 'scipy', 'cv2'} & set(sys.modules)))"
        )
        run = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False
        )
        assert run.returncode == 0, run.stderr
        assert "--patients" in run.stdout
