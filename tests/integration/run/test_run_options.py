"""`scanside run` does what every option says, or refuses it: none is left aside in silence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import numpy as np
import pytest

import toy
from scanside.cli.run import run as command
from scanside.cli.use import _FOR, _NEEDS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from command import Done

    Command = Callable[..., Done]


@pytest.fixture
def run(scanside: Command, toy_path: Path) -> Command:
    """`scanside run` with the toy bundle on the CPU."""

    def call(*words: object) -> Done:
        return scanside("run", *words, "--bundle", toy_path, "--backend", "cpu")

    return call


@pytest.fixture
def dicom(tmp_path: Path) -> Path:
    """A study of DICOM files."""
    pytest.importorskip("pydicom", reason="the extra dicom is not installed")
    import studies

    return studies.write(tmp_path / "dicom", studies.slices(6, side=96))


@pytest.fixture
def nifti(tmp_path: Path) -> Path:
    """A study of NIfTI files."""
    nibabel = pytest.importorskip("nibabel", reason="the extra nifti is not installed")
    folder = tmp_path / "nifti"
    folder.mkdir()
    images = np.stack([toy.lesion_slice(n, side=96) for n in range(4)])
    for channel, name in enumerate(("t1", "flair", "t1c")):
        volume = np.ascontiguousarray(images[..., channel].transpose(2, 1, 0))
        nibabel.Nifti1Image(volume, np.diag([-0.9, -0.9, 5.0, 1.0])).to_filename(
            folder / f"{name}.nii"
        )
    return folder


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--rules", "r.toml"), "--rules is for DICOM and NIfTI"),
        (("--series-window", "auto"), "--series-window is for DICOM and NIfTI"),
        (("--output", "{}", "--write", "nifti"), "--write is for DICOM and NIfTI"),
        (("--output", "{}", "--uid-root", "1.2.3"), "--uid-root is for DICOM results"),
        (("--output", "{}", "--created", "now"), "--created is for DICOM results"),
    ],
)
def test_what_images_have_no_use_for_is_refused(
    run: Command, folder: Path, tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    out = tmp_path / "out"
    done = run(folder, *(word.format(out) for word in words))
    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert "the inputs are images" in done.err
    assert not out.exists()


@pytest.mark.parametrize("option", [("--window", "0,9"), ("--spacing", "1,1")])
@pytest.mark.parametrize("kind", ["dicom", "nifti"])
def test_what_studies_have_no_use_for_is_refused(
    run: Command, request: pytest.FixtureRequest, tmp_path: Path, kind: str, option: tuple[str, str]
) -> None:
    study = request.getfixturevalue(kind)
    name = "DICOM" if kind == "dicom" else "NIfTI"
    done = run(study, *option, "--output", tmp_path / "out")
    assert (done.code, done.out) == (2, "")
    assert f"{option[0]} is for images, and the inputs are {name} files" in done.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("option", [("--uid-root", "1.2.3"), ("--created", "now")])
def test_what_names_dicom_results_needs_some(
    run: Command, dicom: Path, nifti: Path, tmp_path: Path, option: tuple[str, str]
) -> None:
    out = ("--output", tmp_path / "out")
    assert "the inputs are NIfTI files" in run(nifti, *out, *option).err
    other = run(dicom, *out, *option, "--write", "nifti")
    assert other.code == 2
    assert "--write nifti" in other.err
    assert run(dicom, *out, *option).code == 0


def test_an_archive_is_what_it_holds(run: Command, nifti: Path, tmp_path: Path) -> None:
    import shutil

    packed = shutil.make_archive(str(tmp_path / "packed"), "zip", nifti)
    out = tmp_path / "out"
    done = run(packed, "--output", out, "--spacing", "1,1")
    assert done.code == 2
    assert "and the inputs are DICOM or NIfTI files" in done.err
    done = run(packed, "--output", out, "--created", "now")
    assert (done.code, done.out) == (2, "")
    assert "the inputs are NIfTI files" in done.err
    assert run(packed, "--output", out).code == 0


def test_of_mixed_inputs_an_option_needs_one_kind(
    run: Command, dicom: Path, folder: Path, tmp_path: Path
) -> None:
    done = run(dicom, folder, "--spacing", "0.5,0.5,6", "--created", "now",
               "--output", tmp_path / "out")  # fmt: skip
    assert done.code == 0, done.err


def test_named_series_ask_no_rules(run: Command, dicom: Path) -> None:
    done = run("--flair", dicom / "series_2", "--fill-missing", "--rules", "r.toml")
    assert done.code == 2
    assert "--rules" in done.err
    assert "named" in done.err


@pytest.mark.parametrize("words", [("--rules", "r"), ("--series-window", "file"), ("--explain",)])
def test_standard_input_is_an_image(scanside: Command, words: tuple[str, ...]) -> None:
    done = scanside("run", "-", *words)
    assert done.code == 2
    assert f"{words[0]} is for DICOM and NIfTI" in done.err


@pytest.mark.parametrize(
    ("words", "needed"),
    [
        (("--page",), "--output"),
        (("--overwrite",), "--output"),
        (("--write", "dicom"), "--output"),
        (("--uid-root", "1.2"), "--output"),
        (("--created", "now"), "--output"),
        (("--note", "phantoms", "--output", "out"), "--page"),
    ],
)
def test_an_option_that_needs_another(
    run: Command, folder: Path, words: tuple[str, ...], needed: str
) -> None:
    done = run(folder, *words)
    assert done.code == 2
    assert f"{words[0]} needs {needed}" in done.err


@pytest.mark.parametrize(
    "words",
    [
        ("--output", "out"),
        ("--format", "jsonl"),
        ("--bundle-sha256", "0"),
        ("--precision", "int8"),
        ("--window", "0,9"),
        ("--spacing", "1,1"),
        ("--series-window", "auto"),
        ("--strict",),
    ],
)
def test_explain_refuses_what_it_would_not_do(
    scanside: Command, dicom: Path, words: tuple[str, ...]
) -> None:
    done = scanside("run", dicom, "--explain", *words)
    assert (done.code, done.out) == (2, "")
    assert f"--explain analyses and writes nothing, so that it takes no {words[0]}" in done.err


@pytest.mark.parametrize("variant", ["missing-position", "missing-sequence"])
def test_explain_ends_as_the_run_of_a_refused_study_would(
    scanside: Command, tmp_path: Path, folder: Path, variant: str
) -> None:
    pytest.importorskip("pydicom", reason="the extra dicom is not installed")
    import studies

    study = studies.write(tmp_path / "study", studies.slices(6, side=64), variant=variant)
    done = scanside("run", study, folder, "--explain")
    assert done.code == 3
    assert "  refused: missing " in done.out
    assert "series 3" in done.out or variant == "missing-sequence"
    assert done.out.endswith("6 images are analysed as they are\nleft out: 1 masks of slices\n")


def test_explain_names_what_cannot_be_looked_at(
    scanside: Command, dicom: Path, tmp_path: Path
) -> None:
    done = scanside("run", dicom, tmp_path / "absent", "--explain")
    assert done.code == 3
    assert "  accepted" in done.out
    assert f"{tmp_path / 'absent'}: cannot be read" in done.out


def test_every_option_is_about_every_input_or_in_a_table() -> None:
    """A new option of which nobody asked what it does for which input fails here."""
    of_every_input = {
        "--output", "--bundle", "--bundle-sha256", "--backend", "--precision", "--format",
        "--fill-missing", "--strict",
    }  # fmt: skip
    inputs_themselves = {"--pre", "--flair", "--post"}
    options = {option.opts[0] for option in command.params if isinstance(option, click.Option)}
    assert options == of_every_input | inputs_themselves | set(_FOR) | set(_NEEDS)


def test_explain_of_images_is_refused(scanside: Command, folder: Path) -> None:
    done = scanside("run", folder, "--explain")
    assert (done.code, done.out) == (2, "")
    assert "--explain is for DICOM and NIfTI studies, and the inputs are images" in done.err


def test_explain_accepts(scanside: Command, dicom: Path) -> None:
    assert scanside("run", dicom, "--explain", "--fill-missing").code == 0
