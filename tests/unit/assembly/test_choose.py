"""Which series is which: by rules, by preference, by name; and every refusal."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pytest.importorskip("pydicom", reason="the extra dicom is not installed")

import studies
from scanside.assembly.assemble import assemble
from scanside.assembly.candidates import NiftiCandidate
from scanside.assembly.choose import choose
from scanside.assembly.collect import collect
from scanside.assembly.rules import Attributes, load_rules
from scanside.errors import InputError, UsageError
from scanside.readers.blobs import Blob
from scanside.readers.discover import discover
from scanside.readers.nifti import NiftiFile
from scanside.study.grid import Grid
from scanside.study.identity import IMPLEMENTATION_CLASS_UID, MANUFACTURER
from scanside.study.model import View
from scanside_training.dicom.plan import turn
from scanside_training.dicom.variants import BAD, GOOD, oblique
from scanside_training.dicom.write import write_study

if TYPE_CHECKING:
    from pathlib import Path

IMAGES = studies.slices()
RULES = load_rules()


@pytest.mark.parametrize(
    ("description", "sequence"),
    [
        ("FLAIR AX", "FLAIR"), ("t2_tirm_tra_dark-fluid_FS", "FLAIR"), ("Ax T2 FLAIR", "FLAIR"),
        ("BraTS-GLI-00001-000-t2f", "FLAIR"), ("BraTS19_CBICA_flair", "FLAIR"),
        ("T1 AX PRE", "pre-contrast"), ("t1_se_tra", "pre-contrast"), ("AX T1", "pre-contrast"),
        ("BraTS-GLI-00001-000-t1n", "pre-contrast"), ("BraTS19_CBICA_t1", "pre-contrast"),
        ("T1 AX without contrast", "pre-contrast"), ("Sag MPRAGE nativ", "pre-contrast"),
        ("T1 AX POST", "post-contrast"), ("t1_se_tra_+KM", "post-contrast"),
        ("AX T1 +C", "post-contrast"), ("SAG 3D BRAVO POST GAD", "post-contrast"),
        ("BraTS-GLI-00001-000-t1c", "post-contrast"), ("t1_mprage_sag_p2_Gd", "post-contrast"),
        ("BraTS19_CBICA_t1ce", "post-contrast"), ("T1 with contrast", "post-contrast"),
        ("AX T2 TSE", None), ("DWI b1000", None), ("T1 FLAIR AX", None), ("PD AX", None),
    ],
)  # fmt: skip
def test_the_rules_that_ship_know_usual_names(description: str, sequence: str | None) -> None:
    taken = RULES.taken(Attributes(description=description))
    assert (None if taken is None else taken[1].sequence) == sequence


@pytest.mark.parametrize(
    ("description", "sequence"),
    [
        ("AX T1 W/O GAD", "pre-contrast"), ("AX T1 NO GAD", "pre-contrast"),
        ("t1_tse_tra_vor_KM", "pre-contrast"), ("T1 sans gado", "pre-contrast"),
        ("T1 avant gado", "pre-contrast"), ("T1 before Gd", "pre-contrast"),
        ("T1 SIN GD", "pre-contrast"), ("T1 NO GD", "pre-contrast"),
        ("T1 pre Gd", "pre-contrast"), ("T1 noncontrast", "pre-contrast"),
        ("T1 MPRAGE POSTOP", "pre-contrast"), ("post op T1", "pre-contrast"),
        ("t1 post op w/o", "pre-contrast"), ("T1 posterior fossa", "pre-contrast"),
        ("t1_mprage_sag", "pre-contrast"), ("T1 PRE-OP", "pre-contrast"),
        ("T1 PRE-OP POST GD", "post-contrast"), ("T1 precentral post gd", "post-contrast"),
        ("AX T1 W/ CONTRAST", "post-contrast"), ("T1 +GD", "post-contrast"),
        ("T1 post", "post-contrast"), ("T1 c+", "post-contrast"), ("T1 KM", "post-contrast"),
        ("t1_tse_tra_nach_KM", "post-contrast"), ("t1-gd", "post-contrast"),
        ("POST GAD AX T1", "post-contrast"), ("ce-gadolinium_T1w", "post-contrast"),
        ("T1 -GD", None), ("T1 +/- GD", None), ("T1 W/WO GAD", None), ("T1 pre + post", None),
        ("T1 with and without contrast", None), ("T1 POST GD / T1 W/O GD", None),
        ("AX FLAIR / BRAIN W/WO", "FLAIR"), ("AX FLAIR pre post", "FLAIR"),
        ("T1_contrast", "post-contrast"), ("T1-contrast", "post-contrast"),
        ("T1contrast", "post-contrast"), ("contrast_T1", "post-contrast"),
        ("T1w_contrast", "post-contrast"), ("contrast-enhanced-T1", "post-contrast"),
        ("T1_enhanced", "post-contrast"), ("T1KM", "post-contrast"), ("T1wGd", "post-contrast"),
        ("T1wCE", "post-contrast"), ("T1wPostContrast", "post-contrast"),
        ("T1WithContrast", "post-contrast"), ("MPRAGEgd", "post-contrast"),
        ("T1 con contrasto", "post-contrast"), ("T1 MDC", "post-contrast"),
        ("T1 DOTAREM", "post-contrast"), ("T1 INJ", "post-contrast"),
        ("AX T1 PLUS C", "post-contrast"), ("T1 C/C", None),
        ("T1_nocontrast", "pre-contrast"), ("T1 bez kontrastu", "pre-contrast"),
        ("T1 senza mdc", "pre-contrast"), ("T1 avant injection", "pre-contrast"),
        ("T1 non-enhanced", "pre-contrast"), ("T1WithoutContrast", "pre-contrast"),
        ("t1_tse_sag+fs", "pre-contrast"), ("t1_space_sag_iso", "pre-contrast"),
        ("AX T1 / BRAIN INJURY", "pre-contrast"), ("T1 COR", "pre-contrast"),
        ("AX T1 PRE / BRAIN W/WO", "pre-contrast"), ("AX T1 / BRAIN W/WO", "pre-contrast"),
        ("AX T1 +C / BRAIN W/WO CONTRAST", "post-contrast"), ("AX T1 / BRAIN W CONTRAST", None),
        ("AX T1 / BRAIN WITHOUT CONTRAST", "pre-contrast"), ("T1 W/WO / BRAIN", None),
        ("AX T1 delayed / BRAIN W/WO", None), ("BRAIN / T1 KM", "post-contrast"),
        ("T1 AX PRE / T1 AX POST", None), ("T1_C", None), ("AX T1 +", None),
        ("FLAIR_to_T1ce", None), ("T1_to_T1Gd", None), ("flair2t1ce", None), ("PD_in_T1c", None),
        ("T2_to_FLAIR", None), ("t1ce2flair", None), ("T1ce_to_MNI", "post-contrast"),
        ("CT1", "post-contrast"), ("CET1w", "post-contrast"), ("GdT1", "post-contrast"),
        ("postT1", "post-contrast"), ("preT1", "pre-contrast"), ("CT1_preop", "post-contrast"),
        ("3DT1", "pre-contrast"), ("3DT1_Gd", "post-contrast"), ("sT1W_3D_CE", "post-contrast"),
        ("3DT1c", "post-contrast"), ("SAGT1", "pre-contrast"), ("AXT1 POST", "post-contrast"),
        ("AXT1 FLAIR", None), ("sT1W_FLAIR", None), ("3DT1_FLAIR", None), ("AX FLAIR", "FLAIR"),
        ("sT2W_TFE", None), ("3DT2_TFE_GD", None), ("AXT2 FLAIR", "FLAIR"),
        ("2_T1", "pre-contrast"), ("T2FLAIR", "FLAIR"), ("pre_op_T1ce", "post-contrast"),
        ("pre", "pre-contrast"), ("post gd", "post-contrast"), ("pre post", None),
        ("post - pre", None), ("T1 post -Gd", None), ("T1_preop_contrast", None),
        ("T1 delayed", None),
        ("T1 S/C", None), ("T1_S_GD", None), ("T1 nach Gabe", None), ("t1_map", None),
        ("t1_tirm_tra_dark-fluid", None), ("T1 ilman kontrastia", None),
    ],
)  # fmt: skip
def test_contrast_is_what_the_name_says_and_never_guessed(
    description: str, sequence: str | None
) -> None:
    attributes = Attributes(description=description)
    taken = None if RULES.excluded(attributes) else RULES.taken(attributes)
    assert (None if taken is None else taken[1].sequence) == sequence


@pytest.mark.parametrize(
    ("named", "agent"),
    [("NONE", False), ("no", False), ("N/A", False), ("", False), ("Gadovist", True)],
)
def test_an_agent_called_none_is_none(tmp_path: Path, named: str, agent: bool) -> None:  # noqa: FBT001
    import pydicom

    studies.write(tmp_path, IMAGES)
    for path in (tmp_path / "series_1").iterdir():
        dataset = pydicom.dcmread(path)
        dataset.ContrastBolusAgent = named
        dataset.save_as(path)
    (study,) = collect(discover([tmp_path], studies=True).studies).studies
    found = [one.attributes[0].agent for one in study.candidates if one.label == "series 1"]
    assert found == [agent]


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        (Attributes(description="3-plane localizer"), "localizer"),
        (Attributes(description="Survey"), "localizer"),
        (Attributes(image_type="ORIGINAL\\PRIMARY\\LOCALIZER"), "localizer"),
        (Attributes(description="T1 SUB"), "excluded by the rules"),
        (Attributes(description="ep2d_diff_ADC"), "excluded by the rules"),
        (Attributes(image_type="DERIVED\\SECONDARY\\PROJECTION IMAGE"), "excluded by the rules"),
        (Attributes(body_part="KNEE"), "wrong body part"),
        (Attributes(body_part="Head"), None),
        (Attributes(description="T1 AX POST", body_part="BRAIN"), None),
        (Attributes(image_type="DERIVED\\SECONDARY"), None),
    ],
)
def test_what_the_rules_leave_out(attributes: Attributes, reason: str | None) -> None:
    excluded = RULES.excluded(attributes)
    assert (None if excluded is None else excluded[0]) == reason


@pytest.mark.parametrize("recorded", ["HEAD", "Head", "head"])
def test_body_parts_are_compared_without_case(tmp_path: Path, recorded: str) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(
        "schema = 'scanside.series-rules/1'\nbody_parts = ['Head']\n"
        "[[take]]\nsequence = 'FLAIR'\nname = ''\n"
    )
    rules = load_rules(path)
    assert rules.excluded(Attributes(body_part=recorded)) is None
    assert rules.excluded(Attributes(body_part="KNEE")) is not None


@pytest.mark.parametrize(
    ("name", "sequence"),
    [
        ("sub-01_FLAIR.nii.gz", "FLAIR"), ("sub-01_ses-post_T1w.nii.gz", "pre-contrast"),
        ("sub-P7_ses-2_ce-gadolinium_T1w.nii", "post-contrast"),
        ("sub_01_T1.nii", None), ("sub-T1_post.nii.gz", None), ("case_T1_sub-01_post.nii", None),
    ],
)  # fmt: skip
def test_the_subject_of_a_bids_name_is_no_subtraction(
    tmp_path: Path, name: str, sequence: str | None
) -> None:
    file = NiftiFile(Blob(name, tmp_path / name), Grid(np.eye(4), (1, 32, 32)))
    (attributes,) = NiftiCandidate(file).attributes
    taken = None if RULES.excluded(attributes) else RULES.taken(attributes)
    assert (None if taken is None else taken[1].sequence) == sequence


def test_times_tell_where_names_do_not() -> None:
    flair = Attributes(scanning_sequence="SE\\IR", repetition_time_ms=9000, echo_time_ms=120,
                       inversion_time_ms=2500)  # fmt: skip
    plain = Attributes(repetition_time_ms=550, echo_time_ms=12)
    for attributes, sequence in (
        (flair, "FLAIR"),
        (plain, "pre-contrast"),
        (plain._replace(agent=True), "post-contrast"),
    ):
        taken = RULES.taken(attributes)
        assert taken is not None
        assert taken[1].sequence == sequence


@pytest.mark.parametrize(
    "name", ["AX SE +C", "AX SE GAD", "SE_contrast", "SE post KM", "SE delayed"]
)
def test_a_name_that_says_contrast_is_never_without_whatever_the_times_say(name: str) -> None:
    attributes = Attributes(description=name, repetition_time_ms=550, echo_time_ms=12)
    for found in (attributes, attributes._replace(contrast="T1")):
        assert RULES.taken(found) is None
        taken = RULES.taken(found._replace(agent=True))
        assert taken is not None
        assert taken[1].sequence == "post-contrast"
    unsaid = RULES.taken(attributes._replace(description="AX SE noncontrast"))
    assert unsaid is not None
    assert unsaid[1].sequence == "pre-contrast"


def test_words_stand_for_parts_of_patterns(tmp_path: Path) -> None:
    file = tmp_path / "rules.toml"
    file.write_text("""
schema = "scanside.series-rules/1"
body_parts = []
[words]
agent = '(?:gd|km)'
after = 'post ?{agent}'
[[take]]
sequence = "post-contrast"
name = "by its name"
description = '^t1 {after}{1}$'
""")
    rules = load_rules(file)
    taken = [rules.taken(Attributes(description=d)) for d in ("T1 POST KM", "T1 {after}")]
    assert [found is not None for found in taken] == [True, False]
    file.write_text(file.read_text().replace("{agent}", "{agents}"))
    with pytest.raises(UsageError, match=r"\{agents\} is none of \[words\]"):
        load_rules(file)


@pytest.mark.parametrize(
    "content",
    [
        "schema = 'other'",
        "schema = 'scanside.series-rules/1'\nbody_parts = []\nunknown = 1\ntake = []",
        "schema = 'scanside.series-rules/1'\nbody_parts = []\n[[take]]\nsequence = 'T2'\nname = ''",
        "schema = 'scanside.series-rules/1'\nbody_parts = []\n[[take]]\nsequence = 'FLAIR'\n"
        "name = ''\ndescription = '('",
        "no toml",
    ],
)
def test_rules_that_are_not_valid_are_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(content)
    with pytest.raises(UsageError, match="rules"):
        load_rules(path)


@pytest.mark.parametrize("kind", ["classic", "enhanced"])
@pytest.mark.parametrize("variant", GOOD)
def test_good_variants_are_seen_alike(tmp_path: Path, kind: Any, variant: str) -> None:
    study = studies.read(studies.write(tmp_path, IMAGES, kind=kind, variant=variant))
    assert np.array_equal(study.images, IMAGES)
    assert not study.notes
    assert {source.sequence for source in study.sources} == {
        "pre-contrast", "FLAIR", "post-contrast"
    }  # fmt: skip
    # Every slice refers to the frame that it came from.
    flair = study.flair
    assert len(flair.frames) == flair.grid.shape[0]
    for at, (dataset, frame) in enumerate(flair.frames):
        held = flair.datasets[dataset]
        if frame is not None:
            held = held.PerFrameFunctionalGroupsSequence[frame - 1].PlanePositionSequence[0]
        assert held.ImagePositionPatient == pytest.approx(flair.grid.position(at), abs=1e-3)


@pytest.mark.parametrize("syntax", ["rle", "jpeg-ls", "jpeg2000"])
@pytest.mark.parametrize("kind", ["classic", "enhanced"])
def test_compressed_studies_read_alike(tmp_path: Path, kind: Any, syntax: str) -> None:
    study = studies.read(studies.write(tmp_path, IMAGES, kind=kind, syntax=syntax))
    assert np.array_equal(study.images, IMAGES)


@pytest.mark.parametrize("name", BAD)
def test_bad_variants_are_refused_for_their_reason(tmp_path: Path, name: str) -> None:
    studies.write(tmp_path, IMAGES, variant=name)
    with pytest.raises(InputError) as refused:
        studies.read(tmp_path)
    text = str(refused.value)
    assert BAD[name].reason in text.partition("; ")[0]
    assert "CANARY" not in text.upper()
    assert "Other" not in text


def test_thick_slices_are_not_reformatted(tmp_path: Path) -> None:
    made = [replace(plan, grid=replace(plan.grid, affine=np.diag([5.0, 0.9, 0.9, 1.0])))
            for plan in studies.plans(studies.slices(40))]  # fmt: skip
    write_study([turn(plan, View((2, 0, 1), (True, False, True))) for plan in made], tmp_path)
    with pytest.raises(InputError, match=r"^slices too thick: series 2 \(FLAIR\)"):
        studies.read(tmp_path)


def test_a_sagittal_3d_acquisition_is_reformatted_axially(tmp_path: Path) -> None:
    images = studies.slices(40, side=64)
    made = [replace(plan, grid=replace(plan.grid, affine=np.diag([1.0, 1.0, 1.2, 1.0])))
            for plan in studies.plans(images)]  # fmt: skip
    write_study([turn(plan, View((2, 0, 1), (False, True, False))) for plan in made], tmp_path)
    study = studies.read(tmp_path)
    assert np.array_equal(study.images, images)
    assert [note.kind for note in study.notes] == ["reformatted"]
    assert study.grid.spacing == pytest.approx((1, 1, 1.2))
    assert study.flair.grid.shape == (64, 40, 64)
    assert study.on_source(study.images[..., 1]).shape == study.flair.grid.shape


def test_another_grid_is_resampled_and_said(tmp_path: Path) -> None:
    made = studies.plans(IMAGES)
    moved = made[0].grid.affine.copy()
    moved[:3, 3] += (0.4, 0.3, 0.0)
    made[0] = replace(made[0], grid=replace(made[0].grid, affine=moved))
    write_study(made, tmp_path)
    study = studies.read(tmp_path)
    assert [(note.kind, note.sequence) for note in study.notes] == [("resampled", "pre-contrast")]
    assert np.array_equal(study.images[..., 1:], IMAGES[..., 1:])
    assert np.abs(study.images[..., 0].astype(int) - IMAGES[..., 0]).mean() < 6


def test_an_oblique_flair_is_the_grid_of_all(tmp_path: Path) -> None:
    made = studies.plans(studies.slices(16))
    write_study([made[0], *oblique([made[1]], 4.0), made[2]], tmp_path)
    study = studies.read(tmp_path)
    assert np.array_equal(study.images[..., 1], studies.slices(16)[..., 1])
    assert study.grid.normal == pytest.approx((0, -np.sin(np.radians(4)), np.cos(np.radians(4))))
    assert {note.kind for note in study.notes} >= {"resampled"}


def test_no_overlap_is_refused(tmp_path: Path) -> None:
    made = studies.plans(IMAGES)
    away = made[2].grid.affine.copy()
    away[2, 3] += 100
    made[2] = replace(made[2], grid=replace(made[2].grid, affine=away))
    write_study(made, tmp_path)
    with pytest.raises(InputError, match="^no overlap: series 3"):
        studies.read(tmp_path)


def test_a_shifted_sequence_is_flagged_and_left_alone(tmp_path: Path) -> None:
    images = studies.slices(8, side=128)
    images[..., 2] = np.roll(images[..., 2], 14, axis=1)
    study = studies.read(studies.write(tmp_path, images))
    assert [(note.kind, note.sequence) for note in study.notes] == [
        ("misregistered", "post-contrast")
    ]
    assert np.array_equal(study.images, images)


def test_flair_stands_in_only_when_asked(tmp_path: Path) -> None:
    studies.write(tmp_path, IMAGES, variant="missing-sequence")
    study = studies.read(tmp_path, fill=True)
    assert study.filled == ("post-contrast",)
    assert np.array_equal(study.images[..., 2], IMAGES[..., 1])
    assert [note.kind for note in study.notes] == ["filled"]


def test_a_series_that_is_flair_again_is_said(tmp_path: Path) -> None:
    study = studies.read(studies.write(tmp_path, IMAGES[..., [1, 1, 2]]))
    assert study.filled == ("pre-contrast",)
    ((kind, sequence, text),) = study.notes
    assert (kind, sequence) == ("filled", "pre-contrast")
    assert text == "FLAIR stands in for it (series 1 equals it in every voxel)"


def test_results_of_scanside_are_left_out(tmp_path: Path) -> None:
    import pydicom

    studies.write(tmp_path, IMAGES)
    for at, path in enumerate(sorted((tmp_path / "series_2").iterdir())):
        dataset = pydicom.dcmread(path)
        dataset.SeriesInstanceUID = "2.25.1"
        dataset.SOPInstanceUID = f"2.25.2{at}"
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        if at % 2:
            dataset.Manufacturer = MANUFACTURER
        dataset.file_meta.ImplementationClassUID = pydicom.uid.UID(IMPLEMENTATION_CLASS_UID)
        dataset.PatientName = "Someone^Else"
        dataset.save_as(tmp_path / f"own{at}.dcm")
    (study,) = collect(discover([tmp_path], studies=True).studies).studies
    chosen = choose(study, RULES)
    assert chosen.error is None
    assert "own result" in {verdict.why.partition(":")[0] for verdict in chosen.verdicts}
    assert np.array_equal(assemble(chosen).images, IMAGES)


def test_the_same_file_twice_counts_once(tmp_path: Path) -> None:
    studies.write(tmp_path / "a", IMAGES)
    studies.write(tmp_path / "b", IMAGES)
    found = collect(discover([tmp_path], studies=True).studies)
    assert found.left_out == {"copies of DICOM instances": 24}
    assert np.array_equal(assemble(choose(found.studies[0], RULES)).images, IMAGES)


@pytest.mark.parametrize("differing", ["position", "pixels"])
def test_files_of_one_instance_that_differ_are_refused(tmp_path: Path, differing: str) -> None:
    import pydicom

    studies.write(tmp_path, IMAGES)
    first, *others = sorted((tmp_path / "series_2").iterdir())
    uid = pydicom.dcmread(first).SOPInstanceUID
    for path in others if differing == "position" else [first]:
        dataset = pydicom.dcmread(path)
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = uid
        if differing == "pixels":
            dataset.PixelData = dataset.PixelData[::-1]
            path = path.with_name("other.dcm")  # noqa: PLW2901
        dataset.save_as(path)
    found = collect(discover([tmp_path], studies=True).studies)
    assert not found.left_out
    with pytest.raises(InputError, match="duplicate instances: series 2"):
        assemble(choose(found.studies[0], RULES))


@pytest.mark.parametrize(
    ("keyword", "value", "reason"),
    [
        ("SeriesDescription", "T1 AX POST", "ambiguous series"),
        ("ImageType", ["DERIVED", "SECONDARY", "SUBTRACT"], "ambiguous series"),
        ("Modality", "CT", "wrong modality"),
        ("SOPClassUID", "1.2.840.10008.5.1.4.1.1.7", "secondary capture"),
        ("FrameOfReferenceUID", "2.25.999", "other frame of reference"),
        ("ImageType", ["DERIVED", "SECONDARY"], None),
        ("SeriesDescription", "T1 AX nativ", None),
    ],
)
@pytest.mark.parametrize("at", [0, -1])
def test_what_one_file_of_a_series_says_is_not_passed_over(
    tmp_path: Path, keyword: str, value: Any, reason: str | None, at: int
) -> None:
    import pydicom

    studies.write(tmp_path, IMAGES)
    path = sorted((tmp_path / "series_1").iterdir())[at]
    dataset = pydicom.dcmread(path)
    dataset.ProtocolName = ""
    setattr(dataset, keyword, value)
    dataset.save_as(path)
    chosen = studies.select(tmp_path)
    assert (chosen.error is None) == (reason is None)
    (why,) = [one.why for one in chosen.verdicts if one.candidate.label == "series 1"]
    assert why.startswith(reason or "T1 without contrast by its name")


def test_a_series_on_the_flair_s_grid_is_preferred(tmp_path: Path) -> None:
    made = studies.plans(IMAGES)
    finer = replace(made[2], number=7, grid=replace(
        made[2].grid, affine=made[2].grid.affine @ np.diag([1, 1, 0.9, 1])))  # fmt: skip
    write_study([*made, finer], tmp_path)
    chosen = studies.select(tmp_path)
    assert chosen.series["post-contrast"].candidate.label == "series 3"
    assert any("another series is preferred" in verdict.why for verdict in chosen.verdicts)


@pytest.mark.parametrize("cause", ["identity", "ambiguous"])
def test_every_series_of_a_refused_study_has_a_verdict(tmp_path: Path, cause: str) -> None:
    import pydicom

    made = studies.plans(IMAGES)
    if cause == "ambiguous":
        made.append(replace(made[1], number=7))
    write_study(made, tmp_path)
    if cause == "identity":
        path = sorted((tmp_path / "series_2").iterdir())[0]
        dataset = pydicom.dcmread(path)
        dataset.PatientID = "OTHER"
        dataset.save_as(path)
    (study,) = collect(discover([tmp_path], studies=True).studies).studies
    chosen = choose(study, RULES)
    assert chosen.error is not None
    told = [verdict.candidate.label for verdict in chosen.verdicts]
    assert sorted(told) == sorted(candidate.label for candidate in study.candidates)
    assert any("it would be post-contrast" in verdict.why for verdict in chosen.verdicts)


@pytest.mark.parametrize("kind", ["classic", "enhanced"])
def test_series_of_one_slice_are_as_thick_as_their_files_say(tmp_path: Path, kind: Any) -> None:
    images = studies.slices(1)
    (first, *_) = studies.plans(images)
    study = studies.read(studies.write(tmp_path, images, kind=kind))
    assert np.array_equal(study.images, images)
    assert study.grid.spacing.between_slices == first.grid.spacing.between_slices
