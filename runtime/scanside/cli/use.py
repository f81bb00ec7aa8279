"""No option of ``scanside run`` does nothing in silence: what is of no use is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from scanside.cli.given import check_needs
from scanside.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Collection

    from scanside.study.model import SourceKind
    from scanside.writers.studyfiles import Form

__all__ = ["Subjects", "check_together", "check_use"]

_IMAGES: Final = "images"
_STUDIES: Final = "DICOM and NIfTI studies"
_CHOSEN: Final = f"{_STUDIES} whose series are not named"
_OBJECTS: Final = "DICOM results"

_FOR: Final = {
    "--window": (_IMAGES, "see --series-window for studies"),
    "--spacing": (_IMAGES, "DICOM and NIfTI files hold their own"),
    "--series-window": (_STUDIES, "see --window for deep images"),
    "--explain": (_STUDIES, "every image is taken as it is"),
    "--write": (_STUDIES, "pictures of images are written with --output alone"),
    "--rules": (_CHOSEN, "leave it out"),
    "--uid-root": (_OBJECTS, "leave it out"),
    "--created": (_OBJECTS, "leave it out"),
}
"""What an option is about, of those that are not about every input, and what to do without it."""

_NEEDS: Final = {
    "--write": "--output",
    "--uid-root": "--output",
    "--created": "--output",
    "--page": "--output",
    "--overwrite": "--output",
    "--note": "--page",
}

_EXPLAINED: Final = ("--pre", "--flair", "--post", "--rules", "--fill-missing")
"""What ``--explain`` depends on."""


class Subjects(NamedTuple):
    """What a run is about, as far as it is known.

    Attributes
    ----------
    images
        Whether there are image files.
    kinds
        What the files of studies are.
    named
        Whether all studies are those of ``--pre``, ``--flair`` and ``--post``.
    forms
        What was asked for of studies; none for the form of the input.
    """

    images: bool
    kinds: Collection[SourceKind]
    named: bool
    forms: tuple[Form, ...] | None

    def __str__(self) -> str:
        names = {"dicom": "DICOM", "nifti": "NIfTI"}
        parts = ["images"] * self.images
        if self.kinds:
            parts.append(f"{' or '.join(names[kind] for kind in sorted(self.kinds))} files")
        told = " and ".join(parts)
        if self.named and self.kinds:
            told += ", all their series named"
        return told if self.forms is None else f"{told}, with --write {','.join(self.forms)}"

    @property
    def present(self) -> set[str]:
        """Those of the subjects of `_FOR` that there are."""
        objects = "dicom" in self.kinds and self.forms != ("nifti",)
        return {
            what
            for what, there in (
                (_IMAGES, self.images),
                (_STUDIES, self.kinds),
                (_CHOSEN, self.kinds and not self.named),
                (_OBJECTS, objects),
            )
            if there
        }


def check_together(given: Collection[str]) -> None:
    """Refuse options that do nothing without another one, or with ``--explain``.

    Raises
    ------
    UsageError
        If there is one.
    """
    idle = [each for each in given if each not in ("--explain", *_EXPLAINED)]
    if "--explain" in given and idle:
        raise UsageError(
            f"--explain analyses and writes nothing, so that it takes no {', '.join(idle)}",
            accepted=f"with --explain: {', '.join(_EXPLAINED)}",
            remedy="leave out the one or the other",
        )
    check_needs(given, _NEEDS)


def check_use(given: Collection[str], subjects: Subjects) -> None:
    """Refuse options that are about none of the inputs. One of several kinds is enough.

    Raises
    ------
    UsageError
        If there is one.
    """
    present = subjects.present
    for option, (what, remedy) in _FOR.items():
        if option in given and present and what not in present:
            raise UsageError(
                f"{option} is for {what}, and the inputs are {subjects}", remedy=remedy
            )
