"""What kind of machine this is: a Jetson with its JetPack, one with an NVIDIA GPU, or neither."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from scanside.bench.environment import read_text

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["JETPACKS", "JetPack", "Platform", "packages", "platform_of"]

Kind = Literal["jetson", "gpu", "cpu"]

_RELEASE: Final = re.compile(r"R(\d+)\s*\(release\),\s*REVISION:\s*(\d+(?:\.\d+)*)")
_NVIDIA: Final = "0x10de"
"""NVIDIA's vendor number of PCI."""

_DISPLAY: Final = ("0x0300", "0x0302")
"""Classes of PCI devices: VGA controllers and 3D controllers, of which a GPU is one."""


class JetPack(NamedTuple):
    """A release of JetPack, as far as scanside depends on it.

    Attributes
    ----------
    name
        Its version.
    python
        The Python that its system packages are for.
    cuda, tensorrt
        The versions that come with it.
    """

    name: str
    python: str
    cuda: str
    tensorrt: str


JETPACKS: Final[tuple[tuple[tuple[int, int], JetPack], ...]] = (
    ((39, 0), JetPack("7.2", "3.12", "13.2", "10.16")),
    ((38, 4), JetPack("7.1", "3.12", "13.0", "10.13.3")),
    ((38, 0), JetPack("7.0", "3.12", "13.0", "10.13.3")),
    ((36, 4), JetPack("6.1 or 6.2", "3.10", "12.6", "10.3")),
    ((36, 0), JetPack("6.0", "3.10", "12.2", "8.6.2")),
    ((35, 0), JetPack("5", "3.8", "11.4", "8.5.2")),
)
"""JetPack by the least major and minor number of L4T, the newest first.

References
----------
NVIDIA JetPack archive, "JetPack SDK" release notes of 5.1 to 7.2.
"""

_OLDEST_L4T: Final = 36


class Platform(NamedTuple):
    """The kind of a machine.

    Attributes
    ----------
    kind
        ``jetson``, ``gpu`` (an NVIDIA GPU on a PCI bus or in WSL), or ``cpu``.
    name
        In words.
    l4t
        Release of Jetson Linux, for instance ``36.4.3``; empty elsewhere or where unknown.
    jetpack
        What belongs to that release; none where it is not known.
    """

    kind: Kind
    name: str
    l4t: str = ""
    jetpack: JetPack | None = None

    @property
    def too_old(self) -> bool:
        """Whether its JetPack has a Python that scanside does not run on."""
        return bool(self.l4t) and int(self.l4t.split(".")[0]) < _OLDEST_L4T


def platform_of(root: Path) -> Platform:
    """Return the kind of a machine from its ``/etc``, ``/proc`` and ``/sys``.

    A Jetson is known by its device tree too: a container has that, and not always the file that
    holds the release.
    """
    model = read_text(root / "proc/device-tree/model")
    compatible = read_text(root / "proc/device-tree/compatible")
    release = _RELEASE.search(read_text(root / "etc/nv_tegra_release"))
    if release or "nvidia,tegra" in compatible or "Jetson" in model:
        l4t = ".".join(release.groups()) if release else ""
        return Platform("jetson", model or "NVIDIA Jetson", l4t, _jetpack(l4t))
    name = read_text(root / "sys/class/dmi/id/product_name") or model or "a computer"
    if _has_gpu(root):
        return Platform("gpu", f"{name} with an NVIDIA GPU")
    return Platform("cpu", f"{name} without an NVIDIA GPU")


def packages(root: Path, *prefixes: str) -> dict[str, str]:
    """Return versions of Debian packages that are installed, by name.

    Parameters
    ----------
    root
        Root of the file system.
    *prefixes
        How the names begin.
    """
    found = {}
    for paragraph in read_text(root / "var/lib/dpkg/status").split("\n\n"):
        if not paragraph.startswith("Package: "):
            continue
        fields = {
            key: value
            for key, _, value in (line.partition(": ") for line in paragraph.splitlines())
        }
        if fields["Package"].startswith(prefixes) and fields.get("Status", "").endswith(
            " installed"
        ):
            found[fields["Package"]] = fields.get("Version", "unknown")
    return found


def _jetpack(l4t: str) -> JetPack | None:
    if not l4t:
        return None
    major, minor = (int(part) for part in l4t.split(".")[:2])
    for least, jetpack in JETPACKS:
        # A later major number is another release, of which nothing is known.
        if major == least[0] and minor >= least[1]:
            return jetpack
    return None


def _has_gpu(root: Path) -> bool:
    if read_text(root / "proc/driver/nvidia/version") or any(
        (root / place).exists() for place in ("usr/lib/wsl/lib/libcuda.so.1", "dev/nvidia0")
    ):
        return True
    return any(
        read_text(device / "vendor") == _NVIDIA and read_text(device / "class")[:6] in _DISPLAY
        for device in (root / "sys/bus/pci/devices").glob("*")
    )
