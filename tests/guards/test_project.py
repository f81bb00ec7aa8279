"""The rules of the project that no linter knows."""

from __future__ import annotations

import re
import subprocess
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LINES = 330
"""A module is one idea: about 300 lines, documentation included."""

IMAGES = {".tif", ".tiff", ".webp", ".dcm", ".nii", ".gz", ".keras", ".h5"}


def tracked() -> list[Path]:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True)
    return [ROOT / name for name in done.stdout.splitlines() if (ROOT / name).exists()]


def sources() -> list[Path]:
    return [
        path
        for top in ("runtime", "training", "export", "calibration")
        for path in sorted((ROOT / top).rglob("*.py"))
    ]


def test_no_module_grows_beyond_one_idea() -> None:
    long = {
        str(p.relative_to(ROOT)): n
        for p in sources()
        if (n := len(p.read_text().splitlines())) > LINES
    }
    assert long == {}


def test_no_image_or_checkpoint_is_committed() -> None:
    odd = [str(p.relative_to(ROOT)) for p in tracked() if p.suffix in IMAGES]
    assert odd == []


def test_links_in_the_documents_lead_somewhere() -> None:
    pages = [p for p in tracked() if p.suffix == ".md" and "bundles" not in p.parts]
    broken = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in pages
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
        if not (page.parent / target).exists()
    ]
    assert pages
    assert broken == []


@pytest.mark.parametrize(
    "name",
    ["scanside", "scanside.errors", "scanside.contract", "scanside.bundle", "scanside.pipeline",
     "scanside.preprocess", "scanside.gate", "scanside.postprocess"],
)  # fmt: skip
def test_all_lists_what_is_there(name: str) -> None:
    module = import_module(name)
    assert [n for n in module.__all__ if not hasattr(module, n)] == []
    assert len(set(module.__all__)) == len(module.__all__)
