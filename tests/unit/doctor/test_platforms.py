"""Which kind of machine a tree of files is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices import CARD, DRIVER, ORIN, THOR, X86, tree
from scanside.doctor.platforms import JETPACKS, packages, platform_of

if TYPE_CHECKING:
    from pathlib import Path


def release(major: int, revision: str) -> dict[str, str]:
    return {"etc/nv_tegra_release": f"# R{major} (release), REVISION: {revision}, GCID: 1\n"}


@pytest.mark.parametrize(
    ("files", "kind"),
    [
        ({}, "cpu"),
        (X86, "cpu"),
        ({**X86, **CARD}, "gpu"),
        ({**X86, **DRIVER}, "gpu"),
        ({"usr/lib/wsl/lib/libcuda.so.1": ""}, "gpu"),
        (ORIN, "jetson"),
        (THOR, "jetson"),
    ],
)
def test_kinds(files: dict[str, str], kind: str, tmp_path: Path) -> None:
    assert platform_of(tree(tmp_path, files)).kind == kind


def test_a_network_card_of_nvidia_is_no_gpu(tmp_path: Path) -> None:
    files = {**X86, **CARD, "sys/bus/pci/devices/0000:01:00.0/class": "0x020000\n"}
    assert platform_of(tree(tmp_path, files)).kind == "cpu"


@pytest.mark.parametrize(
    ("major", "revision", "jetpack", "python"),
    [
        (35, "6.1", "5", "3.8"),
        (36, "3.0", "6.0", "3.10"),
        (36, "4.3", "6.1 or 6.2", "3.10"),
        (36, "5.0", "6.1 or 6.2", "3.10"),
        (38, "2.0", "7.0", "3.12"),
        (38, "4.0", "7.1", "3.12"),
        (39, "2.0", "7.2", "3.12"),
    ],
)
def test_jetpack_by_release(
    major: int, revision: str, jetpack: str, python: str, tmp_path: Path
) -> None:
    held = platform_of(tree(tmp_path, release(major, revision)))
    assert held.jetpack is not None
    assert (held.jetpack.name, held.jetpack.python) == (jetpack, python)
    assert held.l4t == f"{major}.{revision}"
    assert held.too_old == (major == 35)


def test_a_release_of_the_future_is_not_taken_for_a_known_one(tmp_path: Path) -> None:
    held = platform_of(tree(tmp_path, release(41, "1.0")))
    assert (held.kind, held.l4t, held.jetpack) == ("jetson", "41.1.0", None)


def test_a_container_on_a_jetson_is_one_of_unknown_release(tmp_path: Path) -> None:
    files = {name: text for name, text in ORIN.items() if not name.startswith("etc/")}
    held = platform_of(tree(tmp_path, files))
    assert (held.kind, held.l4t, held.jetpack) == ("jetson", "", None)


def test_jetpacks_stand_newest_first() -> None:
    order = [least for least, _ in JETPACKS]
    assert order == sorted(order, reverse=True)


def test_packages_that_are_installed(tmp_path: Path) -> None:
    root = tree(tmp_path, ORIN)
    assert packages(root, "python3-libnvinfer", "nvidia-jetpack") == {
        "nvidia-jetpack": "6.2+b77",
        "python3-libnvinfer": "10.3.0.30-1+cuda12.5",
    }
    assert packages(tmp_path / "nowhere", "") == {}


@given(text=st.text(max_size=200))
def test_no_text_ends_it(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    root = tree(
        tmp_path_factory.mktemp("any"),
        {"etc/nv_tegra_release": text, "var/lib/dpkg/status": f"Package: a\n{text}\n\n{text}"},
    )
    assert platform_of(root).kind in {"jetson", "cpu"}
    assert set(packages(root, "a")) <= {"a"}
